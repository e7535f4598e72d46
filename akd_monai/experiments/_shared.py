# SPDX-License-Identifier: Apache-2.0
"""What one part of an experiment has done need not be run by another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from akd_monai.experiments._plan.cell import Cell, is_done
from akd_monai.files import read_json

__all__ = ["take_over"]


def take_over(cells: Iterable[Cell], others: Iterable[Cell]) -> list[str]:
    """Copy the folders of other cells that are done and are the same: command, settings, environment and bundle.

    A command gives the same weights wherever its folder is, since all its paths but that of the data are relative. A
    folder that is there already is left as it is, to be continued.

    Args:
        cells: of a part, whose bundles are written.
        others: of parts before it.

    Returns:
        The names of the cells that are now done.
    """
    by_name = {cell.name: cell for cell in others}
    taken = []
    for cell in cells:
        other = by_name.get(cell.name)
        if other is None or os.path.exists(cell.folder) or not _is_same(cell, other) or not is_done(other):
            continue
        half = Path(f"{cell.folder}.half")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(other.folder, half)
        os.replace(half, cell.folder)
        taken.append(cell.name)
    return taken


def _is_same(cell: Cell, other: Cell) -> bool:
    return cell.identity() == other.identity() and _bundle(cell) == _bundle(other)


def _bundle(cell: Cell) -> Any:
    """Return the record of the bundle in which a cell starts."""
    return read_json(Path(f"{cell.start_in}.json"))
