# SPDX-License-Identifier: Apache-2.0
"""Write a light student for a bundle of anyone: the teacher's configs with another network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.utils import optional_import
from torch import nn

from akd_monai.bundle._candidate import build_candidate
from akd_monai.bundle._new_copy import data_files, exchanged_configs, local_modules
from akd_monai.bundle._new_fit import check_fit
from akd_monai.bundle._new_layers import HIGH_RATIOS, level_end, shared_level
from akd_monai.bundle._new_light import LIGHT, full_target, is_of_slices, light_arguments
from akd_monai.bundle._new_like_texts import Told, like_metadata, like_readme
from akd_monai.bundle._new_probe import LayerMap, layer_maps
from akd_monai.bundle._new_teacher import TeacherFacts, read_teacher
from akd_monai.bundle.load import build_network
from akd_monai.bundle.metadata import distillation_layer
from akd_monai.errors import InputError, one_line
from akd_monai.files import atomic_write, check_writable

__all__ = ["write_like"]

# MONAI reads YAML with it, so it is there for whoever has a bundle in YAML
yaml, _ = optional_import("yaml")


@dataclass(frozen=True)
class _Layers:
    """Layers worth comparing, or why the teacher's is not known."""

    student: dict[str, str]
    teacher: str | None
    reason: str


def write_like(
    root: Path,
    teacher_bundle: str | Path,
    network: str,
    network_args: Mapping[str, Any] | None,
    *,
    high: str | None = None,
    low: str | None = None,
    trust_bundle: bool = False,
) -> Path:
    """Write a student for ``teacher_bundle`` into the folder ``root``, which does not exist, and return it.

    Raises:
        InputError: if the teacher or the network does not lend itself to that, in one line.
    """
    facts = read_teacher(teacher_bundle)
    target = full_target(network)
    if is_of_slices(target) and facts.spatial_dims != 2:
        raise InputError(
            f"{network} takes slices, and the network of bundle {str(teacher_bundle)!r} volumes, whose outputs for a volume "
            "are not those for its slices",
            remedy=f"take a network for volumes ({', '.join(LIGHT)}), or a teacher of slices",
            code="slices",
        )
    arguments = light_arguments(network, network_args)
    definition, built = build_candidate(target, facts.in_channels, facts.out_channels, arguments, facts.spatial_dims)
    for size in facts.sizes:
        check_fit(built, network, (1, facts.in_channels, *size), facts.out_channels)
    configs = exchanged_configs(facts.root, definition)
    modules = _own_code(facts.root, configs, trust_bundle)
    layers = _layers(facts, built, high, low, trust_bundle)
    told = Told(
        name=root.name,
        network=target,
        parameters=sum(p.numel() for p in built.parameters()),
        student_layers=layers.student,
        teacher_layer=layers.teacher,
        reason=layers.reason,
        modules=sorted(modules),
    )
    _write(root, facts, configs, told)
    return root


def _own_code(bundle_dir: Path, configs: Mapping[str, Mapping[str, Any]], trusted: bool) -> dict[str, str]:
    modules = local_modules(bundle_dir, configs)
    if modules and not trusted:
        listed = "; ".join(f"{name} ({place})" for name, place in modules.items())
        raise InputError(
            f"the configs of bundle {str(bundle_dir)!r} import Python code of its own: {listed}",
            remedy="pass --trust_bundle if you trust its author, so that this code is copied and the student runs it",
            code="untrusted",
        )
    return modules


def _layers(facts: TeacherFacts, built: nn.Module, high: str | None, low: str | None, trusted: bool) -> _Layers:
    size = facts.sizes[0]
    maps = layer_maps(built, (1, facts.in_channels, *size))
    _check_layers(built, maps, {"high": high, "low": low})
    theirs, reason = _teacher_maps(facts, trusted)
    named = distillation_layer(facts.root, "high", missing_ok=True)
    if named is not None:
        theirs = [entry for entry in theirs if entry.layer == named]
    pair = shared_level(maps, theirs, size)
    found = {"low": low or _first(maps, size, (2,)), "high": high or _first(maps, size, HIGH_RATIOS)}
    if pair is not None and high is None:
        found["high"] = pair[0].layer
    teacher = named or (pair[1].layer if pair is not None else None)
    if teacher is None and not reason:
        reason = "none of its layers has the resolution of a layer of the student"
    return _Layers({level: layer for level, layer in found.items() if layer}, teacher, reason)


def _check_layers(built: nn.Module, maps: Sequence[LayerMap], given: Mapping[str, str | None]) -> None:
    known = [entry.layer for entry in maps]
    for level, layer in given.items():
        if layer is not None and layer not in known:
            raise InputError(
                f"{level} {layer!r} is no layer of {type(built).__name__} that gives a map",
                remedy="leave it out, or name one that akd_monai.networks.list_layers(network) lists",
            )


def _first(maps: Sequence[LayerMap], size: Sequence[int], ratios: Sequence[int]) -> str | None:
    found = (level_end(maps, size, ratio) for ratio in ratios)
    return next((entry.layer for entry in found if entry is not None), None)


def _teacher_maps(facts: TeacherFacts, trusted: bool) -> tuple[list[LayerMap], str]:
    """Return the maps of the teacher's layers, or none and why."""
    try:
        network = build_network(facts.root, trust_bundle=trusted)
        return layer_maps(network, (1, facts.in_channels, *facts.sizes[0])), ""
    except Exception as error:
        # code of the teacher's own may raise anything, and the student is complete without it
        return [], one_line(error.what if isinstance(error, InputError) else error, 160)


def _write(root: Path, facts: TeacherFacts, configs: Mapping[str, Mapping[str, Any]], told: Told) -> None:
    for name, content in configs.items():
        atomic_write(root / "configs" / name, _dumped(name, content))
    for name, raw in data_files(facts.root, configs).items():
        atomic_write(root / "configs" / name, raw)
    metadata = like_metadata(facts.metadata, facts.root.name, told)
    atomic_write(root / "configs" / "metadata.json", _dumped("metadata.json", metadata))
    for name in ("LICENSE", "docs/data_license.txt"):
        if (facts.root / name).is_file():
            atomic_write(root / name, (facts.root / name).read_bytes())
    for name in told.modules:
        _copy_code(facts.root / name, root / name)
    check_writable(root / "models")
    atomic_write(root / "docs" / "README.md", like_readme(facts, told))


def _copy_code(source: Path, target: Path) -> None:
    if source.is_file():
        atomic_write(target, source.read_bytes())
    else:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))


def _dumped(name: str, content: Mapping[str, Any]) -> str:
    if name.endswith(".json"):
        return json.dumps(content, indent=4, ensure_ascii=False) + "\n"
    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120))
