# SPDX-License-Identifier: Apache-2.0
"""The tables as Markdown: on the screen, and as ``docs/benchmarks.md`` from the stored results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from akd_monai.tables import markdown_table

HEAD = """
How fast the parts of akd_monai are beside other ways to do the same, and how far they reach the goals set for them.
This page is written by `python -m benchmarks`; do not edit it.

```bash
python -m benchmarks                      # every table, then this page
python -m benchmarks affinity pipeline    # some tables; the others stay as they are
python -m benchmarks --public FOLDER      # also a clone of https://github.com/CoinCheung/pytorch-loss
python -m benchmarks --compiled           # also torch.compile
python -m benchmarks --device cuda        # on a GPU, which has a page of its own: benchmarks-gpu.md
python -m benchmarks --quick              # smallest sizes, one round: does everything run? Nothing is written
```

torchdistill is measured where it is installed: `pip install --no-deps torchdistill torchvision`.

Numbers are medians with their range. On a CPU they are process time (user and system) of one thread, in rounds that
take turns, so that other work on the machine hits all alike; what counts are the ratios inside one table. Each table has
a process of its own: memory that an earlier one had in use changes the times of forms that need much. Before anything is
timed, its result is compared with the others'. Networks have random weights and images are synthetic.
"""


def section(result: Mapping[str, Any]) -> str:
    """Return one table with its title, notes and the machine it was measured on."""
    facts = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    measured = [f"Measured on: {facts}; rounds {result['rounds']}, device {result['device']}."]
    parts = [f"## {result['title']}", result["about"]]
    if result["rows"]:
        parts.append(markdown_table(result["columns"], result["rows"]))
    return "\n\n".join([*parts, *result["notes"], *(measured if result["rows"] else [])])


def goals(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the goals beside what was measured, and for each one missed the reason."""
    rows, missed = [], []
    for result in results.values():
        for goal in result["goals"]:
            sign = "at most" if goal["at_most"] else "at least"
            value = "" if goal["value"] is None else f"{goal['value']:.3g}"
            rows.append([goal["what"], f"{sign} {goal['limit']:.3g}", value, _verdict(goal)])
            if not goal["reached"]:
                found = value or "not run"
                missed.append(f"- {goal['what']} ({found}, {sign} {goal['limit']:.3g} wanted): {goal['floor']}.")
    parts = ["## Goals", markdown_table(["goal", "wanted", "measured", ""], rows)] if rows else []
    if missed:
        parts += ["What falls short or was not run, and why:", "\n".join(missed)]
    return "\n\n".join(parts)


def _verdict(goal: Mapping[str, Any]) -> str:
    return {True: "reached", False: "**missed**", None: "**not run**"}[goal["reached"]]


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the whole page."""
    is_gpu = any(result["device"] == "cuda" for result in results.values())
    title = "# Benchmarks on a GPU" if is_gpu else "# Benchmarks"
    return "\n\n".join([title, HEAD.strip(), goals(results), *(section(result) for result in results.values())]) + "\n"
