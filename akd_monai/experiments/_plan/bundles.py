# SPDX-License-Identifier: Apache-2.0
"""The bundles of an experiment: which ids their configs have, and how they are written into its folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle import change_bundle, check_settings, write_bundle
from akd_monai.bundle._parts import bundle_files, part_names, read_part
from akd_monai.bundle._settings import known_settings
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import read_json, sha256_of, write_json

__all__ = ["check_ids", "check_values", "configs_of", "find_bundle", "is_new_term", "put_bundle"]

# what an experiment says on the command line of its cells, by the config that must have it
_NEEDED = {
    "train.json": ("dataset_dir", "ckpt_dir", "output_dir", "seed", "split_seed", "sites", "folds", "fold"),
    "evaluate.json": ("part", "ckpt_path"),
    "distill.json": (
        "teacher_bundle",
        "teacher_weights",
        "teacher_cache",
        "lambda_logits",
        "lambda_gram",
        "lambda_affinity",
    ),
}
# these are the experiment's own, and would be overruled
_RESERVED = (
    "dataset_dir",
    "ckpt_dir",
    "output_dir",
    "seed",
    "sites",
    "fold",
    "part",
    "ckpt_path",
    "initial_weights",
    "labelled_cases",
    "teacher_bundle",
    "teacher_weights",
)
_PROGRAMS = (".json", ".yaml", ".yml", ".py")
_LEFT_OUT = ("models", "eval", "data", ".*", "__pycache__")

Configs = Mapping[str, ConfigParser]


def find_bundle(name: Any, beside: Path, where: str) -> str:
    """Return the name of a network part as it is, or the path of a bundle's folder, relative to ``beside``, in full.

    Raises:
        UnknownNameError: if it is neither.
    """
    if isinstance(name, str):
        if name in part_names():
            return name
        folder = (beside / Path(name).expanduser()).resolve()
        if (folder / "configs").is_dir():
            return str(folder)
    raise unknown_name(
        "network", name, part_names(), where=where, remedy="Give one of these, or the folder of a bundle"
    )


def configs_of(bundle: str, *, student: bool) -> dict[str, ConfigParser]:
    """Return the JSON configs of a network part or of a bundle's folder by file name.

    Raises:
        InputError: if they lack an id that an experiment must set; a teacher needs none for distillation.
    """
    if bundle in part_names():
        files = bundle_files(read_part(bundle))
        contents = {Path(path).name: json.loads(text) for path, text in files.items() if path.endswith(".json")}
    else:
        contents = {path.name: read_json(path) for path in sorted(Path(bundle, "configs").glob("*.json"))}
    configs = {name: ConfigParser(content) for name, content in contents.items()}
    for file, ids in _NEEDED.items():
        if file == "distill.json" and not student:
            continue
        missing = [name for name in ids if file not in configs or name not in configs[file]]
        if missing:
            raise InputError(
                f"bundle {bundle!r} cannot be in an experiment: its {file} has no {', '.join(missing)}",
                remedy="python -m akd_monai new_bundle writes bundles of any network that have them",
            )
    return configs


def check_ids(where: str, ids: Iterable[str], configs: Configs, reserved: Iterable[str] = ()) -> None:
    """Refuse ids that are the experiment's own, or that none of the configs has.

    Args:
        where: for messages.
        ids: to be checked.
        configs: those that are read.
        reserved: what the experiment sets here, beside what it sets everywhere.

    Raises:
        InputError: for an id that the experiment sets.
        UnknownNameError: for an id that does not exist.
    """
    for name in ids:
        if name in (*_RESERVED, *reserved):
            raise InputError(f"{name!r} is set by the experiment itself, for each of its cells", where=where)
        # the empty id is that of a complete config
        if not name or not any(name in parser for parser in configs.values()):
            known = sorted({str(key) for parser in configs.values() for key in parser.get()})
            raise unknown_name("config id", name, known, where=f"in {where}")


def is_new_term(name: str, value: Any) -> bool:
    """Return whether a setting adds a term to those of a bundle, or replaces one.

    Example:
        >>> is_new_term("distillation#terms#sure", {"loss": {"_target_": "my_losses.ConfidenceLoss"}})
        True
    """
    return re.fullmatch(r"distillation#terms#[^#]+", name) is not None and isinstance(value, dict) and "loss" in value


def check_values(where: str, settings: Mapping[str, Any]) -> None:
    """Refuse values out of range for the ids whose range is known; expressions are left to the run.

    Raises:
        InputError: for the first of them.
    """
    known = known_settings(of_overlay=False)
    plain = {name: value for name, value in settings.items() if name in known and not _is_expression(value)}
    try:
        check_settings(**plain)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("$", "@", "%"))


def put_bundle(bundle: str, settings: Mapping[str, Any], root: Path) -> None:
    """Write a bundle into ``root`` with ``settings`` in its configs, unless that was done before.

    Args:
        bundle: name of a network part, or a bundle's folder, which is copied without weights, results and data.
        settings: values by config id.
        root: where to; its record stands beside it, ``root.json``.

    Raises:
        InputError: if cells have been run in it and it would change, or was changed by hand.
    """
    is_part = bundle in part_names()
    if not is_part and Path(bundle) == root:
        # the experiment's own copy, as its `experiment.json` names it
        return
    wanted = {"bundle": bundle if is_part else "", "settings": dict(settings), "files": _hashes(bundle)}
    record = root.with_name(f"{root.name}.json")
    changed = _changed(record, wanted, root)
    if not changed and record.is_file():
        # a cell that an earlier run has left on a cluster may be reading it
        return
    if changed and _has_cells(root):
        raise InputError(
            f"{changed} changed after cells were run in it",
            where=str(root),
            remedy=f"undo that (the copy is written again once {str(record)!r} is deleted), or choose another output_dir",
        )
    if is_part:
        write_bundle(bundle, root)
    else:
        shutil.copytree(bundle, root, ignore=shutil.ignore_patterns(*_LEFT_OUT), dirs_exist_ok=True)
        (root / "models").mkdir(exist_ok=True)
    change_bundle(root, settings)
    write_json(record, {**wanted, "written": _program_hashes(root)})


def _changed(record: Path, wanted: Mapping[str, Any], root: Path) -> str:
    """Say what is not as it was when a bundle was written; nothing if all is, or if it was never written."""
    if not record.is_file():
        return ""
    before = read_json(record)
    if any(before.get(name) != value for name, value in wanted.items()):
        return "the settings or files of this bundle"
    now = _program_hashes(root)
    names = [name for name, value in before.get("written", {}).items() if now.get(name) != value]
    return f"{', '.join(names)} of this copy" if names else ""


def _has_cells(root: Path) -> bool:
    """Return whether a cell of the experiment has been started in a bundle."""
    cells = root.parents[1] / "cells"
    return any(root.name in path.parts for path in cells.rglob("cell.json"))


def _hashes(bundle: str) -> dict[str, str]:
    """Return the hashes of a bundle's folder; a part changes with the package alone."""
    return {} if bundle in part_names() else _program_hashes(Path(bundle))


def _program_hashes(root: Path) -> dict[str, str]:
    """Return the hash of each config and script of a bundle by its path."""
    files = [path for folder in ("configs", "scripts") for path in sorted((root / folder).rglob("*"))]
    # the experiment adds a config for a method with a recipe, and Python its own files
    kept = [path for path in files if path.suffix in _PROGRAMS and not path.name.startswith("method_")]
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in kept}
