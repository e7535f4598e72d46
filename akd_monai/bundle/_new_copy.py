# SPDX-License-Identifier: Apache-2.0
"""The configs of a teacher with another network in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle._configs import config_path, load_config
from akd_monai.bundle._items import config_texts
from akd_monai.errors import InputError

__all__ = ["data_files", "exchanged_configs", "local_modules"]

_COPIED = ("train", "inference", "evaluate", "test", "multi_gpu_train", "multi_gpu_evaluate")
_NETWORK = "network_def"
# arguments of the new network, and what the old one may call them
_SAME = {
    "spatial_dims": ("spatial_dims",),
    "in_channels": ("in_channels",),
    "out_channels": ("out_channels", "num_classes", "out_classes"),
}
# what any network has
_COMMON = {
    "apply", "cuda", "eval", "half", "load_state_dict", "modules", "named_parameters", "parameters", "requires_grad_",
    "state_dict", "to", "train",
}  # fmt: skip
_PART = re.compile(r"@network(?:_def)?\s*\.\s*(\w+)|@network_def(?:#|::)(\w+)")
_REFERENCE = re.compile(r"[@%](\w+)")


def exchanged_configs(bundle_dir: Path, definition: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the configs of a bundle by file name, as they are but for the network.

    Where the old network took a number of channels or dimensions from another id (``@num_classes``), so does the new one;
    ids that only the old network needed are gone.

    Args:
        bundle_dir: the teacher's folder.
        definition: of the new network.

    Raises:
        InputError: if a config uses a part of the old network that the new one does not have.
    """
    found = {}
    for name in _COPIED:
        path = config_path(bundle_dir, name)
        if path is not None:
            found[path.name] = load_config(path)
    needed = " ".join(text for content in found.values() for text in _outside(content, _reached(content)))
    result = {}
    for name, content in found.items():
        changed = _exchanged(content, definition, needed)
        _check_parts(changed, name, definition)
        result[name] = changed
    return result


def _exchanged(content: Mapping[str, Any], definition: Mapping[str, Any], needed: str) -> dict[str, Any]:
    changed = dict(content)
    if "bundle_root" in changed:
        changed["bundle_root"] = "."
    if _NETWORK not in content:
        return changed
    changed[_NETWORK] = {**definition, **_references(content, definition)}
    unused = _reached(content, " ".join([needed, *config_texts(changed[_NETWORK])])) - {_NETWORK}
    return {name: value for name, value in changed.items() if name not in unused}


def _references(content: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments that refer to a plain number of the config, since that may be overridden."""
    found = {}
    old = content[_NETWORK]
    for argument, names in _SAME.items():
        for name in names:
            value = old.get(name) if isinstance(old, Mapping) else None
            if argument in definition and isinstance(value, str) and content.get(value[1:]) == definition[argument]:
                found[argument] = value
    return found


def _reached(content: Mapping[str, Any], elsewhere: str = "") -> set[str]:
    """Return ``network_def`` and the ids that serve only it: it refers to them, directly or not, and nothing else does."""
    reached = {_NETWORK}
    todo = [_NETWORK]
    while todo:
        names = set(_REFERENCE.findall(" ".join(config_texts(content.get(todo.pop())))))
        new = {name for name in names if name in content} - reached
        reached |= new
        todo += sorted(new)
    while True:
        outside = " ".join([elsewhere, *_outside(content, reached)])
        shared = (reached - {_NETWORK}) & set(_REFERENCE.findall(outside))
        if not shared:
            return reached
        reached -= shared


def _outside(content: Mapping[str, Any], inside: set[str]) -> Iterator[str]:
    for name, value in content.items():
        if name not in inside:
            yield from config_texts(value)


def _check_parts(content: Mapping[str, Any], name: str, definition: Mapping[str, Any]) -> None:
    for key in content:
        if re.match(rf"\+?{_NETWORK}(#|::)", str(key)):
            raise InputError(
                f"{name} of the teacher changes {key!r}, a part of its own network",
                remedy="remove it from a copy of it",
            )
    for text in config_texts({key: value for key, value in content.items() if key != _NETWORK}):
        for match in _PART.finditer(text):
            if match[1] not in _COMMON and match[2] not in definition:
                raise InputError(
                    f"{name} of the teacher uses {match[0]!r} (in {text!r}), which a network of another class need not have",
                    remedy="change that in a copy of the teacher's bundle",
                    code="network-part",
                )


def data_files(bundle_dir: Path, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the other files in ``configs`` that the copied configs name, such as lists of data, and the log's settings."""
    used = " ".join(text for content in configs.values() for text in config_texts(content))
    skipped = {*configs, "metadata.json"}
    found = {}
    for path in sorted((bundle_dir / "configs").iterdir()):
        if path.is_file() and path.name not in skipped and (path.name in used or path.name == "logging.conf"):
            found[path.name] = path.read_bytes()
    return found


def local_modules(bundle_dir: Path, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the Python modules in a bundle's folder that its configs import, each with one place that does."""
    found: dict[str, str] = {}
    for path in sorted(bundle_dir.iterdir()):
        name = path.stem if path.suffix == ".py" else path.name
        if not name.isidentifier() or not (path.suffix == ".py" or any(path.rglob("*.py"))):
            continue
        pattern = re.compile(rf"^{name}\.|(?<![\w./'\"-]){name}\.|\b(import|from)\s+{name}\b")
        for file, content in configs.items():
            for text in config_texts(content):
                if pattern.search(text):
                    found.setdefault(path.name, f"{text!r} in {file}")
    return found
