# SPDX-License-Identifier: Apache-2.0
"""The page with the table of all bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.model_zoo.bundles import BUNDLES
from benchmarks.model_zoo.cells import CELLS, WORKS

__all__ = ["zoo_page"]

_TITLES = {
    "check": "check",
    "profile": "profile",
    "like": "light student by --like",
    "teacher": "as teacher of it",
    "student": "as student, under itself",
}
_LONGEST = 220
_INTRO = """# The Model Zoo's segmentation bundles

Each bundle of the [Model Zoo](https://github.com/Project-MONAI/model-zoo) for segmentation, at commit {commit}, tried as it
is: random weights, **made-up images**, one epoch of small crops by overrides alone, one CPU thread, no GPU. The table says
that the commands run to their end, not that anything is learned. "trusted" means that the bundle's own code or expressions
had to be trusted.

Written by `{command}`.

As teacher of a light student {teacher} of {count} work, as student under itself {student}, and for {like} a light student is
written. {tracebacks}
"""


def zoo_page(results: Mapping[str, Mapping[str, Mapping[str, Any]]], command: str, commit: str) -> str:
    """Return the page for results by bundle and cell."""
    counts = {cell: sum(_works(found.get(cell)) for found in results.values()) for cell in CELLS}
    failed = sum(entry["traceback"] for found in results.values() for entry in found.values())
    said = "No command ended with a traceback." if failed == 0 else f"{failed} commands ended with a traceback."
    text = _INTRO.format(commit=commit, command=command, count=len(BUNDLES), tracebacks=said, **counts)
    head = "| bundle | " + " | ".join(_TITLES[cell] for cell in CELLS) + " |"
    lines = [text, head, "|" + "---|" * (len(CELLS) + 1)]
    notes: list[str] = []
    for name in BUNDLES:
        cells = [_shown(results.get(name, {}).get(cell), notes) for cell in CELLS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *[f"{number}. {note}" for number, note in enumerate(notes, start=1)], ""]
    return "\n".join(lines)


def _works(entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and entry["outcome"] == WORKS


def _shown(entry: Mapping[str, Any] | None, notes: list[str]) -> str:
    """Return a cell: works, or the number of the line under the table that says why not."""
    if entry is None:
        return "not tried"
    if _works(entry):
        return "works, trusted" if entry["trusted"] else WORKS
    line = entry["outcome"].replace("|", "\\|")
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
    note = f"`{line}`" if "`" not in line else line
    if note not in notes:
        notes.append(note)
    return f"no ({notes.index(note) + 1})"
