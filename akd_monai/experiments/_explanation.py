# SPDX-License-Identifier: Apache-2.0
"""What may be the reason where distillation is not shown to help, and what would be needed to see an effect."""

from __future__ import annotations

import math
from collections.abc import Sequence

from akd_monai.experiments._comparison import MIN_PAIRS, Comparison, scores
from akd_monai.experiments.results import Results, System

__all__ = ["explanations"]

# a gain in Dice that a reader would want to see; the number of cases follows from it
_WANTED = 0.02
# below it, a network does not segment what the labels show
_LEAST_DICE = 0.1
# the task loss, also on images without labels, and the sum of all
_OWN = ("task", "unlabelled", "total")


def explanations(results: Results, comparisons: Sequence[Comparison]) -> list[str]:
    """Return, a sentence each, likely reasons and remedies; none where every distilled student is shown to be better.

    Args:
        results: the record.
        comparisons: of its distilled students with the student alone.
    """
    by_dice = [c for c in comparisons if c.metric.key == "dice" and c.outcome != "helped"]
    if not by_dice:
        return []
    said = [*_teacher(results, by_dice[0].class_name)]
    distilled = {c.distilled for c in by_dice}
    for system in results["systems"]:
        if system["label"] in distilled:
            said += _terms(system)
    return [*said, _cases(by_dice[0])]


def _teacher(results: Results, class_name: str) -> list[str]:
    """Compare the teacher with the student alone at this site."""
    teacher = next((s for s in results["systems"] if s["role"] == "teacher"), None)
    alone = next((s for s in results["systems"] if s["role"] == "baseline"), None)
    if teacher is None or alone is None:
        return []
    means = [scores(system, class_name)["dice"].mean for system in (teacher, alone)]
    if any(math.isnan(mean) for mean in means):
        return []
    if max(means) < _LEAST_DICE:
        return [
            f"Neither the teacher nor the student alone segments this site yet: their mean Dice is {means[0]:.3f} and "
            f"{means[1]:.3f}. Train both longer before they are compared."
        ]
    values = f"its mean Dice is {means[0]:.3f}, that of the student alone {means[1]:.3f}"
    if means[0] > means[1]:
        return [
            f"The teacher knows more about this site than the student alone: {values}. There is something to learn from it."
        ]
    return [
        f"The teacher has little to teach here: on these cases {values}. Train it longer or at more sites, or adapt it "
        "to this site first (a short training from its weights on the labelled cases)."
    ]


def _terms(system: System) -> list[str]:
    """Name the terms that outweighed the labels in the first epoch."""
    history = system.get("history") or [{}]
    first = history[0]
    task = first.get("loss/task", math.nan)
    above = []
    for name, value in first.items():
        term = name.removeprefix("loss/")
        if name.startswith("loss/") and term not in _OWN and value > task:
            above.append(f"{term} {value:.2f}")
    if not above:
        return []
    return [
        f"In the first epoch of “{system['label']}” {', '.join(above)} stood beside a task loss of {task:.2f}: such a "
        "term may outweigh the labels. Lower its weight, raise it slowly, or take another recipe (--recipe)."
    ]


def _cases(comparison: Comparison) -> str:
    """Say how many test cases would show a gain of the wanted size."""
    difference = comparison.difference
    goal = f"a gain of {_WANTED} Dice"
    if difference.low is None or difference.high is None or difference.n < MIN_PAIRS:
        return f"To see {goal} takes at least {MIN_PAIRS} test cases, and more where cases differ: more cases, or all folds."
    half = (difference.high - difference.low) / 2
    needed = max(MIN_PAIRS, math.ceil(round(difference.n * (half / _WANTED) ** 2, 6)))
    return (
        f"To see {goal} takes about {needed} test cases, if paired differences spread as on these {difference.n}; and "
        "several seeds, because another seed may move a result by as much."
    )
