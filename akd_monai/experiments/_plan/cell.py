# SPDX-License-Identifier: Apache-2.0
"""One command of an experiment, and how far it is."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from akd_monai.errors import InputError, UnknownNameError, unknown_name
from akd_monai.files import read_json

__all__ = ["Cell", "Kind", "Row", "check_environment", "chosen", "in_order", "is_done", "unknown_cell"]

Kind = Literal["train", "distill", "test", "export", "measure"]
# how sums are divided among threads changes their last bits, so that the number of threads is part of what a cell is
_THREADS = "OMP_NUM_THREADS"
# where a cell is tracked changes nothing in it
_TRACKING = ("--tracking", "--experiment_name=", "--run_name=", "--run_tags=", "--run_params=")


def _environment() -> tuple[tuple[str, str], ...]:
    """Return the variables of a cell: one thread, unless the user has chosen another number."""
    return ((_THREADS, os.environ.get(_THREADS) or "1"),)


@dataclass(frozen=True)
class Row:
    """What a cell is in the tables of its experiment.

    Args:
        target: the target site.
        seed: of its trainings.
        role: ``"teacher"`` or ``"student"``.
        network: name of the network in the experiment.
        method: name of a method, a control, ``"without"``, or ``"sources"`` for what learns at the sources for others, and
            ``"alone"`` for what learns at the single site ``target`` for other targets.
        teacher: name of the teacher of a distilled student.
        fold: of the target's cases; ``None`` for what is the same in every fold.
        labelled: how many of the training cases have labels; ``None`` for all, or for what learns from none of them.
    """

    target: str
    seed: int
    role: Literal["teacher", "student"]
    network: str
    method: str
    teacher: str | None = None
    fold: int | None = None
    labelled: int | None = None

    def name(self) -> str:
        """Return the row as a path.

        Example:
            >>> Row("HK", 0, "student", "enet", "distilled", "unetplusplus", 1).name()
            'HK/fold-1/student-enet/distilled/unetplusplus/seed-0'
        """
        fold = [] if self.fold is None else [f"fold-{self.fold}"]
        labelled = [] if self.labelled is None else [f"labelled-{self.labelled}"]
        teacher = [] if self.teacher is None else [self.teacher]
        network = f"{self.role}-{self.network}"
        return "/".join([self.target, *fold, *labelled, network, self.method, *teacher, f"seed-{self.seed}"])


@dataclass(frozen=True)
class Cell:
    """A command with a folder of its own; plain strings, so that it can be sent to another machine.

    Args:
        name: unique in its experiment, such as ``"train/HK/fold-0/student-enet/without/seed-0"``.
        kind: what it does; cells of one kind take about the same time.
        row: what it is in the tables.
        command: arguments after ``python``.
        start_in: folder in which the command starts.
        folder: where it writes: its record ``cell.json``, its log ``log.txt`` and all that the command makes.
        result: file whose presence says that the cell is done; it is written atomically by the command, or else by the
            engine after the command has ended with exit code 0.
        needs: names of the cells that must be done before.
        settings: JSON of what the experiment changes in the configs that the command reads.
        environment: variables under which the command gives the same weights to the bit.
    """

    name: str
    kind: Kind
    row: Row
    command: tuple[str, ...]
    start_in: str
    folder: str
    result: str
    needs: tuple[str, ...] = ()
    settings: str = "{}"
    environment: tuple[tuple[str, str], ...] = field(default_factory=_environment)

    def line(self) -> str:
        """Return the cell as one line for a shell."""
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment)
        return f"(cd {shlex.quote(self.start_in)} && {variables} python {shlex.join(self.command)})"

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for a result of the cell to count, as it stands in the record."""
        return {
            "cell": self.name,
            "command": [argument for argument in self.command if not argument.startswith(_TRACKING)],
            "settings": json.loads(self.settings),
            "environment": dict(self.environment),
        }

    @property
    def record(self) -> Path:
        """The file that says which command the cell was started with."""
        return Path(self.folder) / "cell.json"


def is_done(cell: Cell) -> bool:
    """Return whether the result of a cell is there and complete.

    Raises:
        InputError: if the folder of the cell belongs to another command, or the result is damaged; nothing is then
            overwritten or taken for a result of this experiment.
    """
    if cell.record.is_file():
        before = read_json(cell.record, remedy="delete the cell's folder")
        differing = _differing(before, cell.identity())
        if differing:
            raise InputError(
                f"cell {cell.name} was run with another {', '.join(differing)}; delete {cell.folder!r} to run it again, or "
                "choose another output_dir."
            )
    if not os.path.exists(cell.result):
        return False
    remedy = f"delete {cell.folder!r}; the cell is then run again"
    owner = read_json(cell.result, remedy=remedy).get("cell")
    if owner != cell.name:
        raise InputError(f"is the result of {owner!r}, and not of {cell.name!r}", where=cell.result, remedy=remedy)
    return True


def check_environment(cells: Iterable[Cell]) -> None:
    """Refuse to continue cells in another environment than that in which the first ones were run.

    Raises:
        InputError: naming the variable and both values.
    """
    for cell in cells:
        if not cell.record.is_file():
            continue
        before = read_json(cell.record, remedy="delete the cell's folder").get("environment", {})
        for name, value in cell.environment:
            if before.get(name) != value:
                raise InputError(
                    f"cell {cell.name} was run with {name}={before.get(name)}, and this is {name}={value}, which changes "
                    f"the last bits of the results; set the variable to that value, or choose another output_dir."
                )


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name what differs: an argument of the command, or an id of the settings."""
    known, current = before.get("settings", {}), now["settings"]
    names = [name for name in sorted({*known, *current}) if known.get(name) != current.get(name)]
    old, new = before.get("command", []), now["command"]
    arguments = {argument.split("=")[0] for argument in set(old) ^ set(new)}
    return [*sorted(arguments), *names] or (["command"] if old != new else [])


def chosen(cells: Sequence[Cell], only: Iterable[str]) -> list[Cell]:
    """Return the cells that match one of the patterns, and all that they need; every cell without patterns.

    Raises:
        UnknownNameError: for a pattern that matches no cell.

    Example:
        >>> rows = [Row(site, 0, "student", "enet", "without") for site in ("HK", "BMC")]
        >>> cells = [Cell(f"train/{r.target}", "train", r, (), ".", r.name(), f"{r.name()}/r.json") for r in rows]
        >>> [cell.name for cell in chosen(cells, ["*HK*"])]
        ['train/HK']
    """
    patterns = list(only)
    if not patterns:
        return list(cells)
    by_name = {cell.name: cell for cell in cells}
    wanted: set[str] = set()
    for pattern in patterns:
        found = [name for name in by_name if fnmatchcase(name, pattern)]
        if not found:
            raise unknown_cell(pattern, by_name)
        wanted.update(found)
    waiting = list(wanted)
    while waiting:
        needed = [name for name in by_name[waiting.pop()].needs if name not in wanted]
        wanted.update(needed)
        waiting += needed
    return [cell for cell in cells if cell.name in wanted]


def unknown_cell(pattern: str, names: Iterable[str]) -> UnknownNameError:
    """Return the error for a pattern that matches no cell."""
    remedy = "A star stands for any characters; --dry_run lists the names of all cells"
    return unknown_name("cell", pattern, names, remedy=remedy, most=3)


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells, if every one comes after all that it needs, and no two share a name or a folder.

    Raises:
        ValueError: otherwise; the plan is wrong then, not the user.
    """
    names: set[str] = set()
    folders: set[str] = set()
    result = []
    for cell in cells:
        missing = [need for need in cell.needs if need not in names]
        if missing or cell.name in names or cell.folder in folders:
            raise ValueError(f"cell {cell.name} comes twice, shares its folder, or comes before {missing}.")
        names.add(cell.name)
        folders.add(cell.folder)
        result.append(cell)
    return result
