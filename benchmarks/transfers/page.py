# SPDX-License-Identifier: Apache-2.0
"""The page of the transfers: Dice of each bundle with its spread, and differences of pairs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from akd_monai.tables import markdown_table
from benchmarks.common import machine_facts
from benchmarks.transfers.bundles import TASKS

__all__ = ["Result", "results_page"]

ALONE = "student alone"


@dataclass(frozen=True)
class Result:
    """Dice ``[cases, classes]`` of one network on the test cases.

    Args:
        task: name of the task.
        row: what was trained, the row of the table.
        seed: of the training, None where all rows share one.
        dice: one row a case, one column a class.
        parameters: of the network.
    """

    task: str
    row: str
    seed: int | None
    dice: Tensor
    parameters: int


def results_page(results: Sequence[Result], command: str, minutes: float) -> str:
    """Return the page as Markdown."""
    tasks = dict.fromkeys(result.task for result in results)
    tables = [_section([result for result in results if result.task == task], task) for task in tasks]
    facts = machine_facts()
    about = (
        "Two 3D bundles in the style of the Model Zoo, written without this package, are trained on **synthetic** volumes "
        "of one site. Each teaches a light student, written by `new_bundle --like`, at a second site with weaker "
        "contrast, a stronger bias field and more noise, where four volumes are labelled for training and two for the "
        "choice of the epoch. Twelve more volumes of that site are the test. ± is the standard deviation over cases.\n"
    )
    run = f"Written by `{command}` in {minutes:.0f} minutes of processor time: {facts['cpu']}, one thread.\n"
    limits = (
        "The layers of the teachers are not named, so that the Gram term is off. No control was run. Shapes are no anatomy, "
        "and two seeds are few: the tables show that the transfer runs and learns for both kinds of output, not what "
        "distillation gains on patients.\n"
    )
    prose = [textwrap.fill(text, 120) + "\n" for text in (about, limits, run)]
    return "\n".join(["# Two transfers between foreign 3D bundles\n", prose[0], *tables, *prose[1:]])


def _section(results: Sequence[Result], task: str) -> str:
    classes = [name for name in TASKS[task]["classes"] if name != "background"]
    header = ["", "parameters", "seed", *classes, "mean", "minus alone"]
    alone = {result.seed: result for result in results if result.row == ALONE}
    rows = [_row(result, alone.get(result.seed)) for result in results]
    kind = "sigmoid, overlapping channels" if TASKS[task]["include_background"] else "softmax"
    distilled = [result for result in results if result.seed is not None and result.row != ALONE]
    above = sum(_mean(result) > _mean(alone[result.seed]) for result in distilled)
    said = f"In {above} of {len(distilled)} runs the distilled student is above the one trained alone with its seed."
    return f"## {task}: {kind}\n\n{markdown_table(header, rows)}\n\n{said}\n"


def _mean(result: Result) -> float:
    return float(result.dice.nanmean(1).mean())


def _row(result: Result, alone: Result | None) -> list[str]:
    means = [f"{value:.3f}" for value in result.dice.nanmean(0).tolist()]
    cases = result.dice.nanmean(1)
    overall = f"{cases.mean():.3f} ± {cases.std():.3f}"
    difference = ""
    if alone is not None and alone is not result:
        paired = cases - alone.dice.nanmean(1)
        difference = f"{paired.mean():+.3f}, {int((paired > 0).sum())} of {len(paired)} cases above"
    seed = "" if result.seed is None else str(result.seed)
    return [result.row, f"{result.parameters:,}", seed, *means, overall, difference]
