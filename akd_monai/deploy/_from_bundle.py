# SPDX-License-Identifier: Apache-2.0
"""The recipe of a bundle: its inference config read as data, and refused where it does what only PyTorch can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from akd_monai.bundle._class_names import class_count, class_names
from akd_monai.bundle._static import StaticConfig, Unknown, read_static
from akd_monai.bundle.metadata import input_format, input_shape, read_metadata
from akd_monai.deploy._decision import POSTPROCESSING
from akd_monai.deploy._recipe import PREPARATION, Recipe
from akd_monai.deploy._steps import ANYTHING, NOT_EXPORTABLE, Step, read_step
from akd_monai.deploy._windows import INFERERS
from akd_monai.errors import InputError

__all__ = ["recipe_of_bundle"]

_INTERNAL = ("_target_", "_disabled_", "_desc_", "keys", "allow_missing_keys", "lazy")
_SUFFIXES = ("Dict", "d", "D")
# where MONAI's classes and this package's live; a name without a module is MONAI's
_HOMES = ("", "monai.transforms", "monai.inferers", "akd_monai.data")
_READERS = (None, "NibabelReader", "CheckedReader", "akd_monai.data.CheckedReader")
_FLOAT = (None, "float32")


@dataclass(frozen=True)
class _Nothing(Step):
    """A transform that changes no value of the mask."""


@dataclass(frozen=True)
class _LoadImage(_Nothing):
    accepted: ClassVar = {
        "reader": _READERS,
        "image_only": ANYTHING,
        "ensure_channel_first": ANYTHING,
        "dtype": _FLOAT,
    }


@dataclass(frozen=True)
class _EnsureChannelFirst(_Nothing):
    accepted: ClassVar = {"strict_check": ANYTHING, "channel_dim": (None, "no_channel")}


@dataclass(frozen=True)
class _EnsureType(_Nothing):
    accepted: ClassVar = {"data_type": ANYTHING, "dtype": _FLOAT, "device": ANYTHING, "track_meta": ANYTHING}


@dataclass(frozen=True)
class _CheckVolumes(_Nothing):
    accepted: ClassVar = {"channels": ANYTHING}


_SAVING = (
    "output_dir",
    "output_postfix",
    "output_ext",
    "output_dtype",
    "resample",
    "separate_folder",
    "print_log",
    "folder_layout",
    "writer",
    "meta_keys",
    "meta_key_postfix",
    "data_root_dir",
    "squeeze_end_dims",
    "output_name_formatter",
)


@dataclass(frozen=True)
class _SaveImage(_Nothing):
    accepted: ClassVar = dict.fromkeys(_SAVING, ANYTHING)


_BEFORE = {
    **PREPARATION,
    "LoadImage": _LoadImage,
    "EnsureChannelFirst": _EnsureChannelFirst,
    "EnsureType": _EnsureType,
    "ToTensor": _EnsureType,
    "CheckVolumes": _CheckVolumes,
}
_AFTER = {
    **POSTPROCESSING,
    "EnsureType": _EnsureType,
    "ToTensor": _EnsureType,
    "CheckPrediction": _Nothing,
    "SaveImage": _SaveImage,
}


def recipe_of_bundle(bundle_dir: str | Path) -> Recipe:
    """Return how a bundle's ``inference`` config makes a mask of a volume; nothing of the bundle is run or imported.

    Read are the ids ``preprocessing``, ``inferer`` and ``postprocessing``, with macros and references followed, and the
    number of channels and the class names of the metadata.

    Args:
        bundle_dir: the bundle's folder.

    Raises:
        InputError: with code ``"not-exportable"``, naming the transform or the inferer that is not covered.
    """
    config = read_static(bundle_dir, "inference")
    if config is None:
        what = f"bundle {str(bundle_dir)!r} has no configs/inference.json or .yaml"
        raise InputError(what, remedy="add one, with preprocessing, inferer and postprocessing")
    where = f"{config.name} of bundle {str(bundle_dir)!r}"
    before = list(_steps(config, "preprocessing", "image", _BEFORE, where))
    after = list(_steps(config, "postprocessing", "pred", _AFTER, where))
    metadata = read_metadata(bundle_dir)
    try:
        return Recipe(
            channels=input_shape(metadata)[0],
            class_names=_names(bundle_dir),
            preprocessing=tuple(before),
            inferer=_inferer(config, where),
            postprocessing=tuple(after),
            facts={"modality": str(input_format(metadata).get("modality", ""))},
        )
    except InputError as error:
        if error.where or error.code != NOT_EXPORTABLE:
            raise
        raise InputError(error.what, where=where, remedy=error.remedy, code=error.code) from None


def _names(bundle_dir: str | Path) -> tuple[str, ...]:
    count = class_count(bundle_dir)
    return tuple(class_names(bundle_dir) or [f"class {number}" for number in range(count)])


def _steps(config: StaticConfig, item: str, key: str, kinds: Mapping[str, Any], where: str) -> Iterator[Any]:
    content = config.get(item)
    transforms = content.get("transforms") if isinstance(content, Mapping) else content
    if not isinstance(transforms, list):
        what = f"has no list of transforms under {item!r}"
        raise InputError(what, where=where, remedy="name it so, as the Model Zoo does", code=NOT_EXPORTABLE)
    for transform in transforms:
        if not isinstance(transform, Mapping) or not isinstance(transform.get("_target_"), str):
            what = f"has an expression in place of a transform in {item!r}, which would run as code"
            raise InputError(what, where=where, remedy="write it with _target_", code=NOT_EXPORTABLE)
        arguments = _arguments(transform, key)
        if arguments is None or str(transform.get("_disabled_", False)).strip().lower() == "true":
            continue
        name = _class_name(transform["_target_"], _SUFFIXES)
        _check_plain(kinds, name, arguments, where)
        step = read_step(kinds, name, arguments, where)
        if not isinstance(step, _Nothing):
            yield step


def _inferer(config: StaticConfig, where: str) -> Any:
    content = config.get("inferer")
    if not isinstance(content, Mapping) or not isinstance(content.get("_target_"), str):
        what = "has no inferer that can be read without running it"
        raise InputError(what, where=where, remedy="name it inferer, with _target_", code=NOT_EXPORTABLE)
    name = _class_name(content["_target_"], ())
    arguments = {key: value for key, value in content.items() if key not in _INTERNAL}
    _check_plain(INFERERS, name, arguments, where)
    return read_step(INFERERS, name, arguments, where)


def _arguments(transform: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """Return the arguments for one key alone, where they are one for each; None if the transform has other keys."""
    keys = transform.get("keys", key)
    keys = list(keys) if isinstance(keys, list) else [keys]
    if key not in keys:
        return None
    given = {}
    for name, value in transform.items():
        if name not in _INTERNAL:
            one_each = isinstance(value, list) and len(value) == len(keys) > 1
            given[name] = value[keys.index(key)] if one_each else value
    return given


def _class_name(target: str, suffixes: tuple[str, ...]) -> str:
    """Return the name of MONAI's class for arrays, or the target itself where it is not MONAI's."""
    home, _, name = target.rpartition(".")
    if not any(home == known or (known and home.startswith(f"{known}.")) for known in _HOMES):
        return target
    for suffix in suffixes:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def _check_plain(kinds: Mapping[str, Any], name: str, arguments: Mapping[str, Any], where: str) -> None:
    accepted = kinds[name].accepted if name in kinds else {}
    for key, value in arguments.items():
        if _holds_unknown(value) and accepted.get(key) is not ANYTHING:
            what = f"has {name} with an expression as {key}, which would run as code"
            raise InputError(what, where=where, remedy="write a plain value", code=NOT_EXPORTABLE)


def _holds_unknown(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_unknown, value))
    return isinstance(value, Unknown)
