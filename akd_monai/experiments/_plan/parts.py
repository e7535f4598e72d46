# SPDX-License-Identifier: Apache-2.0
"""An experiment of several parts, each with a protocol and a folder of its own; or of one, which is the experiment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError, check_mapping, unknown_name
from akd_monai.experiments._plan.cell import Cell, chosen, unknown_cell
from akd_monai.experiments._plan.checked import check_matrix
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import Matrix, read_matrix
from akd_monai.experiments._plan.shipped import experiment_file
from akd_monai.experiments._plan.values import folder_names
from akd_monai.files import as_path, read_json

__all__ = ["EXPERIMENT", "Opened", "Part", "cells_of", "open_experiment"]

# the experiment's file, as it was run, in the folder of its results
EXPERIMENT = "experiment.json"


@dataclass(frozen=True)
class Part:
    """An experiment, or a part of one.

    Args:
        matrix: what its file says.
        folder: of its results.
        file: its file.
        prefix: what stands before the names of its cells; nothing where there is no other part.
    """

    matrix: Matrix
    folder: Path
    file: Path
    prefix: str = ""


@dataclass(frozen=True)
class Opened:
    """What a file of an experiment holds.

    Args:
        name: of the experiment.
        folder: of all its results.
        parts: its parts; one for an experiment without parts.
        has_parts: whether the file lists parts.
    """

    name: str
    folder: Path
    parts: tuple[Part, ...]
    has_parts: bool


def open_experiment(
    file: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    dataset_dir: str | os.PathLike[str] | None = None,
) -> Opened:
    """Read the file of an experiment and, where it lists parts, the file of each.

    Args:
        file: name of an experiment of the package, or a path.
        output_dir: of all results; by default beside the file.
        dataset_dir: prepared data in place of those that the files name.

    Raises:
        InputError: for a mistake in a file.
        UnknownNameError: for a name that does not exist.
    """
    path, beside = experiment_file(file)
    folder = beside if output_dir is None else as_path(output_dir, "output_dir").resolve()
    content = read_json(path)
    if "parts" not in content:
        part = _checked(path, folder, dataset_dir)
        return Opened(part.matrix.name, folder, (part,), has_parts=False)
    where = f"experiment {str(path)!r}"
    given = check_mapping(where, content, ("parts", "dataset_dir"))
    if dataset_dir is None and "dataset_dir" in given:
        dataset_dir = path.parent / str(given["dataset_dir"])
    parts = [_part(path, name, folder, dataset_dir, where) for name in _names(given["parts"], where)]
    return Opened(path.stem, folder, tuple(parts), has_parts=True)


def _names(given: Any, where: str) -> tuple[str, ...]:
    names = folder_names("part", given, where)
    if len(names) < 2:
        raise InputError(f"parts must be two files or more, got {given!r}", where=where, remedy="run that file itself")
    return names


def _part(path: Path, name: str, folder: Path, dataset_dir: str | os.PathLike[str] | None, where: str) -> Part:
    file = path.parent / name
    if not file.is_file():
        others = sorted(other.name for other in path.parent.glob("*.json") if other != path)
        raise unknown_name(
            "part", name, others, where=f"of {where}", remedy="Parts lie beside the file that lists them"
        )
    if "parts" in read_json(file):
        raise InputError(f"part {name!r} lists parts itself", where=where, remedy="list those")
    return _checked(file, folder / file.stem, dataset_dir, f"{file.stem}/")


def _checked(file: Path, folder: Path, dataset_dir: str | os.PathLike[str] | None, prefix: str = "") -> Part:
    matrix = read_matrix(file, dataset_dir)
    check_matrix(matrix)
    return Part(matrix, folder, file, prefix)


def cells_of(parts: Sequence[Part], only: Sequence[str] = ()) -> list[list[Cell]]:
    """Return the cells of each part that match one of the patterns, and all that they need.

    Args:
        parts: of an experiment.
        only: patterns of cell names, which may start with that of a part; all cells without them.

    Raises:
        UnknownNameError: for a pattern that matches no cell of any part.
    """
    every = [expand(part.matrix, part.folder) for part in parts]
    if not only:
        return every
    _check_patterns(parts, every, only)
    found = []
    for part, cells in zip(parts, every, strict=True):
        names = _matching(part, cells, only)
        found.append(chosen(cells, names) if names else [])
    return found


def _check_patterns(parts: Sequence[Part], every: Sequence[Sequence[Cell]], only: Sequence[str]) -> None:
    pairs = list(zip(parts, every, strict=True))
    for pattern in only:
        if not any(_matching(part, cells, [pattern]) for part, cells in pairs):
            named = [f"{part.prefix}{cell.name}" for part, cells in pairs for cell in cells]
            raise unknown_cell(pattern, named)


def _matching(part: Part, cells: Sequence[Cell], patterns: Sequence[str]) -> list[str]:
    """Return the names of the cells that a pattern matches, as they are or with that of their part before them."""
    names = []
    for cell in cells:
        both = (cell.name, f"{part.prefix}{cell.name}")
        if any(fnmatchcase(name, pattern) for name in both for pattern in patterns):
            names.append(cell.name)
    return names
