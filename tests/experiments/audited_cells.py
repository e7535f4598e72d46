# SPDX-License-Identifier: Apache-2.0
"""Cells of an experiment as this process runs them, with every file that they open on record."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import fire
import monai.bundle

# a hook of Python cannot be taken away: it writes down nothing while no list is open
_OPENED: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _OPENED and isinstance(arguments[0], (str, bytes, os.PathLike)):
        _OPENED[-1].append(os.path.abspath(os.fsdecode(arguments[0])))


sys.addaudithook(_note)


@contextlib.contextmanager
def opened_below(folder: Path) -> Iterator[list[str]]:
    """Give a list that holds, at the end, the files below ``folder`` that were opened by whatever code of Python."""
    found: list[str] = []
    _OPENED.append([])
    try:
        yield found
    finally:
        found += [path for path in _OPENED.pop() if path.startswith(f"{folder}{os.sep}")]


def run_cell(cell, monkeypatch) -> None:
    """Run the command of a cell as ``python -m monai.bundle`` parses it, but for its logging."""
    assert cell.command[:2] == ("-m", "monai.bundle")
    Path(cell.folder).mkdir(parents=True, exist_ok=True)
    with monkeypatch.context() as inside:
        inside.chdir(cell.start_in)
        fire.Fire({"run": monai.bundle.run}, command=[*cell.command[2:], "--logging_file=False"])
