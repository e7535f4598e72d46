# SPDX-License-Identifier: Apache-2.0
"""Check a bundle before anything is run: what MONAI would report only in the middle of a run, or never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ComponentLocator

from akd_monai.bundle._agreement import disagreements
from akd_monai.bundle._code import read_code, short_list
from akd_monai.bundle._configs import CONFIG_SUFFIXES, config_path, load_config, missed_ids, with_common
from akd_monai.bundle._logging_conf import logging_problems
from akd_monai.bundle._metadata_rules import metadata_problems
from akd_monai.bundle._problems import Problem
from akd_monai.bundle._references import config_problems
from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_sha256
from akd_monai.errors import InputError

__all__ = ["check_bundle", "find_code", "find_problems"]

_FILES = ("LICENSE", "docs/README.md")
_ALONE = ("train", "inference", "preprocessing")
# each with the config that it changes
_OVERLAYS = {
    "evaluate": "train",
    "distill": "train",
    "multi_gpu_train": "train",
    "inference_trt": "inference",
}
_READ_ONLY = ("tracking",)
# a config that has these two starts nothing from another one
_COMPLETE = {"network_def", "dataset_dir"}


def check_bundle(bundle_dir: str | Path) -> None:
    """Check that a bundle is complete and consistent; see :func:`find_problems`.

    Args:
        bundle_dir: the bundle's folder.

    Raises:
        InputError: naming everything that is wrong, notes left out.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     check_bundle(write_bundle("enet", folder))
    """
    problems = [problem for problem in find_problems(bundle_dir) if problem.severity != "note"]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError(f"bundle {str(bundle_dir)!r} has {count}: {'; '.join(problems)}")


def find_problems(bundle_dir: str | Path) -> list[Problem]:
    """Return everything that is wrong with a bundle; nothing of it is run or imported.

    Checked: files of the Model Zoo's layout, required metadata, every ``_target_`` and the names of its arguments, every
    reference, every id that an overlay changes, agreement of ``network_def`` and of the image's deterministic
    preprocessing between training, validation and inference, and the hash of the weights where metadata names one.
    Targets outside torch, MONAI, ignite, ``akd_monai``, NumPy, nibabel and ITK are not checked: they would have to be
    imported. :func:`find_code` names them.

    Args:
        bundle_dir: the bundle's folder; its configs may be JSON or YAML.

    Returns:
        One phrase for each problem, with its ``severity``: ``"error"``, ``"warning"`` or ``"note"``; empty if there is
        none.

    Raises:
        InputError: if the folder is no bundle at all.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (write_bundle("enet", folder) / "LICENSE").unlink()
        ...     find_problems(folder)
        ['LICENSE is missing']
    """
    configs, problems = _readable(bundle_dir)
    metadata = configs.pop("metadata", None)
    problems += _missing_files(bundle_dir)
    if metadata is not None:
        problems += metadata_problems(metadata)
        problems += _weights_problems(bundle_dir, metadata.get("weights_sha256"))
    problems += logging_problems(bundle_path(bundle_dir, "configs", "logging.conf"))
    problems += _all_config_problems(bundle_dir, configs, metadata or {})
    problems += disagreements(bundle_dir)
    return problems


def find_code(bundle_dir: str | Path) -> list[str]:
    """Return what a bundle's configs would run, most serious first; nothing of it is run or imported to know.

    The levels are ``network``: why its network is not loaded without trust; ``foreign code``: what lies outside torch,
    MONAI, ignite, ``akd_monai``, NumPy, nibabel, ITK and Python itself and would be imported; ``reaches out``: expressions
    with words that import, read, write or start something; ``expressions``: how many others there are. Every expression is
    code, so the last two say what to read first, not what is harmless.

    Args:
        bundle_dir: the bundle's folder; its configs may be JSON or YAML. Those that cannot be read are left out, see
            :func:`find_problems`.

    Returns:
        One phrase for each, at most eight a level.

    Raises:
        InputError: if the folder is no bundle at all.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import change_bundle, write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = write_bundle("enet", folder)
        ...     change_bundle(root, {"network_def#_target_": "scripts.net.Net"})
        ...     [line.split(",")[0] for line in find_code(root) if line.startswith("network")]
        ["network: train.json: the target 'scripts.net.Net' in 'network_def'"]
    """
    metadata = _readable(bundle_dir)[0].get("metadata", {})
    return short_list(list(read_code(_every_config(bundle_dir), Path(bundle_dir), metadata)))


def _every_config(bundle_dir: str | Path) -> list[Path]:
    """Return the configs of a bundle, those that MONAI knows by name first."""
    found = [path for path in sorted(bundle_path(bundle_dir, "configs").iterdir()) if path.suffix in CONFIG_SUFFIXES]
    known = [path for name in (*_ALONE, *_OVERLAYS) for path in found if path.stem == name]
    return known + [path for path in found if path not in known and path.stem != "metadata"]


def _readable(bundle_dir: str | Path) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """Return the content of each config that can be read, and what is wrong with the others."""
    contents = {}
    problems = []
    try:
        contents["metadata"] = read_metadata(bundle_dir)
    except InputError as error:
        if error.code != "json":
            raise
        problems.append(Problem(f"metadata.json {error.what}"))
    for name in (*_ALONE, *_OVERLAYS, *_READ_ONLY):
        problems += _shadowed(bundle_dir, name)
        path = config_path(bundle_dir, name)
        if path is None:
            problems += _folders(bundle_dir, name)
            continue
        try:
            contents[name] = load_config(path)
        except InputError as error:
            problems.append(Problem(f"{path.name} {error.what}"))
    return contents, problems


def _shadowed(bundle_dir: str | Path, name: str) -> Iterator[Problem]:
    files = [f"{name}{suffix}" for suffix in CONFIG_SUFFIXES]
    used, *others = [file for file in files if bundle_path(bundle_dir, "configs", file).is_file()] or [""]
    if others:
        yield Problem(f"of configs/{used} and {' and '.join(others)} the first is used; remove what is old", "warning")


def _folders(bundle_dir: str | Path, name: str) -> Iterator[Problem]:
    for suffix in CONFIG_SUFFIXES:
        if bundle_path(bundle_dir, "configs", f"{name}{suffix}").is_dir():
            yield Problem(f"configs/{name}{suffix} is a folder")


def _missing_files(bundle_dir: str | Path) -> Iterator[Problem]:
    for name in _FILES:
        if not bundle_path(bundle_dir, name).is_file():
            yield Problem(f"{name} is missing", "warning")
    if config_path(bundle_dir, "inference") is None:
        yield Problem("configs/inference.json is missing (or inference.yaml)", "warning")
    if config_path(bundle_dir, "train") is None:
        yield Problem("there is no configs/train.json (or train.yaml): the bundle cannot be trained", "note")


def _weights_problems(bundle_dir: str | Path, wanted: Any) -> Iterator[Problem]:
    if not wanted or not isinstance(wanted, str):
        return
    try:
        found = weights_sha256(bundle_dir)
    except InputError:
        yield Problem(f"models/model.pt is missing, metadata.json gives its hash {wanted[:12]}...", "warning")
        return
    if found != wanted:
        yield Problem(f"models/model.pt has the hash {found[:12]}..., metadata.json says {wanted[:12]}...")


def _all_config_problems(
    bundle_dir: str | Path, configs: Mapping[str, dict[str, Any]], metadata: Mapping[str, Any]
) -> Iterator[Problem]:
    # one for all: it searches every module of MONAI once
    locator = ComponentLocator()
    alone: dict[str, list[Problem]] = {}
    for name in configs:
        path = config_path(bundle_dir, name)
        if path is not None and (name in _ALONE or _is_complete(name, configs)):
            alone[name] = list(config_problems(with_common(bundle_dir, path), metadata, locator))
            yield from (Problem(f"{path.name}: {problem}", problem.severity) for problem in alone[name])
    for name, base in _OVERLAYS.items():
        changed = config_path(bundle_dir, base)
        path = config_path(bundle_dir, name)
        if name not in configs or name in alone or base not in configs or path is None or changed is None:
            continue
        found = _overlay_problems([changed, path], configs[base], configs[name], metadata, locator)
        # what is wrong in the config that it changes has been reported already
        new = [problem for problem in found if problem not in alone[base]]
        yield from (Problem(f"{path.name}: {problem}", problem.severity) for problem in new)


def _is_complete(name: str, configs: Mapping[str, dict[str, Any]]) -> bool:
    """Return whether a config that usually changes another one is a program of its own."""
    return name in _OVERLAYS and configs[name].keys() >= _COMPLETE


def _overlay_problems(
    paths: list[Path],
    base: Mapping[str, Any],
    overlay: Mapping[str, Any],
    metadata: Mapping[str, Any],
    locator: ComponentLocator,
) -> list[Problem]:
    missed = missed_ids(base, overlay)
    if missed:
        return [Problem(f"{name!r} has no target in the {paths[0].stem} config") for name in missed]
    return list(config_problems(paths, metadata, locator))
