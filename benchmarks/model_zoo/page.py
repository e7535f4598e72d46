# SPDX-License-Identifier: Apache-2.0
"""The page with the table of all bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
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
# cells that build the network, or compare its arguments, as they stand
_BUILDING = ("check", "profile")
_LONGEST = 240
_PACKAGES = ("monai", "torch", "numpy", "scikit-image", "einops", "torchvision", "tensorboard")
_OVERRIDDEN = """## Overrides

Beside those for data and sizes, what the training needs with these versions, in plain MONAI too:
"""
_INTRO = """# The Model Zoo's segmentation bundles

Each bundle of the [Model Zoo](https://github.com/Project-MONAI/model-zoo) for segmentation, at commit {commit}, tried as it
is: random weights in place of the trained ones, **synthetic images**, one epoch of small crops by overrides alone, one
thread of an x86-64 CPU that did other work as well, no GPU.
Packages: {packages}.
scikit-image and einops are no requirements of this package; some of the bundles import them.

The table says that the commands run to their end and do what they say, not that anything is learned.
"Works" as teacher or student means that

- the command ended with exit code 0,
- both networks were compared under the activation that their author means, which was read by hand,
- the bundle's own loss, the logits term and the affinity term were finite and not 0,
- the weights that the command named were written in this run, and fit the student's own network strictly.

"Trusted" means that the bundle's own code or expressions had to be trusted, "TorchScript" that the teacher is the bundle's
`models/model.ts`. Handlers for TensorBoard are left out.

Written by `{command}`.

As teacher of a light student {teacher} of {count} work, as student under itself {student}, and for {like} a light student is
written. {tracebacks} A number leads to the last line of the command, below the table.
"""


def zoo_page(results: Mapping[str, Mapping[str, Mapping[str, Any]]], command: str, commit: str) -> str:
    """Return the page for results by bundle and cell."""
    counts = {cell: sum(_works(found.get(cell)) for found in results.values()) for cell in CELLS}
    failed = sum(entry["traceback"] for found in results.values() for entry in found.values())
    said = "No command ended with a traceback." if failed == 0 else f"{failed} commands ended with a traceback."
    packages = ", ".join(f"{name} {_installed(name)}" for name in _PACKAGES)
    facts = {"commit": commit, "command": command, "packages": packages, "count": len(BUNDLES), "tracebacks": said}
    text = _INTRO.format(**facts, **counts)
    head = "| bundle | " + " | ".join(_TITLES[cell] for cell in CELLS) + " |"
    lines = [text, head, "|" + "---|" * (len(CELLS) + 1)]
    notes: list[str] = []
    for name in BUNDLES:
        cells = [_shown(results.get(name, {}).get(cell), notes, name, cell) for cell in CELLS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *[f"{number}. {note}" for number, note in enumerate(notes, start=1)], ""]
    lines += [_OVERRIDDEN, *_overridden(), ""]
    return "\n".join(lines)


def _installed(name: str) -> str:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return "missing"


def _overridden() -> Iterator[str]:
    """Yield a line for each bundle with overrides that are no data and no sizes."""
    for name, spec in BUNDLES.items():
        values = {**spec.network, **spec.set_by_user}
        if values:
            shown = ", ".join(f"`--{place} {value!s}`" for place, value in values.items())
            yield f"- {name}: {shown}{f' ({spec.why})' if spec.why else ''}"


def _works(entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and entry["outcome"] == WORKS


def _shown(entry: Mapping[str, Any] | None, notes: list[str], name: str, cell: str) -> str:
    """Return a cell: works, or the number of the line under the table that says why not."""
    if entry is None:
        return "not tried"
    if _works(entry):
        is_scripted = "models/model.ts" in entry.get("command", "")
        marks = [WORKS, *(["trusted"] if entry["trusted"] else []), *(["TorchScript"] if is_scripted else [])]
        return ", ".join(marks)
    line = entry["outcome"]
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
    note = f"`{line}`" if "`" not in line else f"`` {line} ``"
    note = f"plain MONAI fails too: {note}" if BUNDLES[name].plain_fails and cell in _BUILDING else note
    if note not in notes:
        notes.append(note)
    return f"no ({notes.index(note) + 1})"
