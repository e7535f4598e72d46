# SPDX-License-Identifier: Apache-2.0
"""The command of a test: evaluate a bundle by its own configs, and keep its scores where the report finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fire

from akd_monai.bundle import evaluate_bundle
from akd_monai.errors import InputError
from akd_monai.experiments.results import case_key, read_case_rows
from akd_monai.files import write_json

__all__ = ["dice_of", "score"]

_CASES = "per_case.csv"
_LOWER_IS_BETTER = ("loss", "error", "distance", "hausdorff", "hd95", "asd")


def score(bundle: str, output_file: str, **override: Any) -> None:
    """Evaluate a bundle and write ``{"metrics": ..., "cases": ...}``.

    ``cases`` holds the Dice of each case, a mean over its classes, where the bundle writes one row a case as this package
    does; else it is empty.

    Args:
        bundle: its folder.
        output_file: the JSON file.
        override: ids of its configs.
    """
    found = evaluate_bundle(bundle, **override)
    cases = _by_case(found.table) if found.table is not None and found.table.name == _CASES else {}
    if not cases:
        # the first test ends with the reason, and not the report of all of them
        dice_of(found.metrics)
    write_json(output_file, {"metrics": found.metrics, "cases": cases})


def _by_case(table: Path) -> dict[str, float | None]:
    values: dict[str, list[float]] = {}
    for row in read_case_rows(table):
        values.setdefault(case_key(row), []).append(float(row["dice"]))
    means = {case: sum(found) / len(found) for case, found in values.items()}
    # JSON has no NaN
    return {case: None if mean != mean else mean for case, mean in means.items()}


def dice_of(metrics: dict[str, float]) -> tuple[str, float]:
    """Return the metric that stands for Dice: the first whose name says so, else the first there is.

    Losses and distances, of which less is better, are none.

    Raises:
        InputError: if there is none.

    Example:
        >>> dice_of({"val_loss": 0.4, "val_mean_dice": 0.9}), dice_of({"score": 0.5})
        (('val_mean_dice', 0.9), ('score', 0.5))
    """
    known = [name for name in metrics if not any(word in name.lower() for word in _LOWER_IS_BETTER)]
    named = [name for name in known if "dice" in name.lower()] or known
    if not named:
        what = f"the evaluation has no metric of which more is better, only {', '.join(metrics) or 'none that is a number'}"
        raise InputError(what, where="compress", remedy="add a Dice to the handlers of its configs/evaluate.json")
    return named[0], metrics[named[0]]


if __name__ == "__main__":
    fire.Fire(score)
