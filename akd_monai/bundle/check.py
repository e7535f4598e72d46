# SPDX-License-Identifier: Apache-2.0
"""See that a bundle is whole before anything is run: what MONAI would only say in the middle of a run, or never."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver

from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_sha256
from akd_monai.errors import InputError

_REQUIRED = (
    "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format",
)  # fmt: skip
_OVERLAYS = {"evaluate.json": "train.json", "distill.json": "train.json", "multi_gpu_train.json": "train.json"}
_ALONE = ("train.json", "inference.json", "preprocessing.json")


def check_bundle(bundle_dir: str | Path) -> str:
    """Return a line when a bundle is whole.

    Checked: files of the Model Zoo's layout, required metadata, every ``_target_`` and the names of its arguments, every
    reference, every id that an overlay changes, agreement of ``network_def`` and of the image's deterministic
    preprocessing between training, validation and inference, and the hash of the weights where metadata names one.

    Raises:
        InputError: naming everything that is wrong.
    """
    problems = [*_files(bundle_dir), *_metadata(bundle_dir)]
    # one for all: it looks through every module of MONAI once
    locator = ComponentLocator()
    configs = bundle_path(bundle_dir, "configs")
    for name in _ALONE:
        if (configs / name).is_file():
            problems += [f"{name}: {p}" for p in check_config([configs / name], locator)]
    for name, base in _OVERLAYS.items():
        if (configs / name).is_file() and (configs / base).is_file():
            found = list(_missed_ids(configs / base, configs / name))
            if not found:
                # what is wrong in the base alone has been said already
                before = set(check_config([configs / base], locator))
                found = [p for p in check_config([configs / base, configs / name], locator) if p not in before]
            problems += [f"{name}: {p}" for p in found]
    problems += _agreement(configs)
    if problems:
        raise InputError(f"bundle {str(bundle_dir)!r} has {len(problems)} problems: {'; '.join(problems)}")
    return f"{bundle_dir}: whole"


def _files(bundle_dir: str | Path) -> Iterator[str]:
    for name in ("LICENSE", "docs/README.md", "configs/inference.json"):
        if not bundle_path(bundle_dir, name).is_file():
            yield f"{name} is missing"


def _metadata(bundle_dir: str | Path) -> Iterator[str]:
    metadata = read_metadata(bundle_dir)
    for key in _REQUIRED:
        if key not in metadata:
            yield f"metadata.json has no {key!r}"
    if metadata.get("version") not in metadata.get("changelog", {}):
        yield f"metadata.json: version {metadata.get('version')!r} is not in changelog"
    wanted = metadata.get("weights_sha256")
    if wanted and (found := weights_sha256(bundle_dir)) != wanted:
        yield f"models/model.pt has the hash {found[:12]}..., metadata.json says {wanted[:12]}..."


def check_config(paths: list[Path], locator: ComponentLocator) -> Iterator[str]:
    """Yield what is wrong with the targets and references of configs merged in order; nothing is run."""
    parser = ConfigParser()
    parser.read_config([str(p) for p in paths])
    parser.read_meta(str(paths[0].with_name("metadata.json")))
    for where, value in _walk(parser.get(), ""):
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str):
            yield from _target(where, value, locator)
        elif isinstance(value, str) and not where.startswith("_meta_"):
            for reference in ReferenceResolver.match_refs_pattern(value):
                if reference not in parser:
                    yield f"{where} refers to {reference!r}, which does not exist"


def _walk(content: Any, where: str) -> Iterator[tuple[str, Any]]:
    yield where, content
    items = content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from _walk(value, f"{where}::{key}" if where else str(key))


def _target(where: str, config: Mapping[str, Any], locator: ComponentLocator) -> Iterator[str]:
    name = ConfigComponent(config={"_target_": config["_target_"]}, id="", locator=locator).resolve_module_name()
    found = locate(str(name))
    if found is None:
        yield f"{where}: there is no {config['_target_']!r}"
        return
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(found).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        parameters = {**parameters, **_inherited(found)}
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _inherited(found).values()) or not _inherited(found):
            return
    for argument in config:
        if not argument.startswith("_") and argument not in parameters:
            yield f"{where}: {config['_target_']!r} has no argument {argument!r}"


def _inherited(target: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters that a class hands on to its base by ``**kwargs``."""
    bases = inspect.getmro(target)[1:2] if inspect.isclass(target) else ()
    return inspect.signature(bases[0]).parameters if bases else {}


def _missed_ids(base: Path, overlay: Path) -> Iterator[str]:
    """Yield nested ids of an overlay whose parent the base does not have: they would change nothing."""
    parser = ConfigParser()
    parser.read_config(str(base))
    for key in json.loads(overlay.read_text(encoding="utf-8")):
        parents = key.removeprefix("+").replace("#", "::").split("::")[:-1]
        if parents and "::".join(parents) not in parser:
            yield f"{key!r} hits nothing in {base.name}"
        if key.startswith("+") and not parents and key[1:] not in parser:
            yield f"{key!r} hits nothing in {base.name}"


def _agreement(configs: Path) -> Iterator[str]:
    train, inference = configs / "train.json", configs / "inference.json"
    if not (train.is_file() and inference.is_file()):
        return
    ours, theirs = (json.loads(p.read_text(encoding="utf-8")) for p in (train, inference))
    for key in ("network_def", "spatial_size", "device"):
        if ours.get(key) != theirs.get(key):
            yield f"{key} differs between train.json and inference.json"
    wanted = image_transforms(theirs["preprocessing"])
    for name, content in (
        ("train#deterministic_transforms", ours.get("train", {}).get("deterministic_transforms")),
        ("validate#preprocessing", ours.get("validate", {}).get("preprocessing")),
    ):
        if content is not None and image_transforms(content) != wanted:
            yield f"{name} of train.json prepares the image in another way than inference.json"


def image_transforms(content: Any) -> list[dict[str, Any]]:
    """Return the transforms that act on ``image``, with the arguments for ``image`` alone.

    Example:
        >>> image_transforms([{"_target_": "Resized", "keys": ["image", "label"], "mode": ["trilinear", "nearest"]}])
        [{'_target_': 'Resized', 'keys': 'image', 'mode': 'trilinear'}]
    """
    transforms = content["transforms"] if isinstance(content, Mapping) else content
    found = []
    for transform in transforms:
        keys = transform["keys"] if isinstance(transform["keys"], list) else [transform["keys"]]
        if "image" in keys:
            at = keys.index("image")
            one = {k: v[at] if isinstance(v, list) and len(v) == len(keys) > 1 else v for k, v in transform.items()}
            found.append({**one, "keys": "image"})
    return found
