# SPDX-License-Identifier: Apache-2.0
"""The hours that experiments take on one device, from what ``benchmarks.full_width`` measured there.

    python -m benchmarks.hours full_width.json table2 table4

For each cell of an experiment: epochs and batches by its settings and those of the bundle, times the median step of its
kind with the teacher run on every batch; validation after each epoch and the test, times the seconds a volume. Cases are
counted as the real set has them, slices as a training keeps them on SYNTHETIC cases, whose glands fill about as many.
Two totals: with slices fed by other processes while the device works, and fed in the process itself, as by default.
Networks count as the bundles have them. Starts of processes and preparing volumes are not in it.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from akd_monai.data import SITES, split_cases
from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import Matrix, read_matrix
from akd_monai.experiments._plan.shipped import experiment_file
from akd_monai.prostate.phantom import make_case
from akd_monai.tables import markdown_table
from benchmarks.common import short
from benchmarks.volumes import BUNDLES

LABELS = {
    "unetplusplus": "UNet++",
    "deeplabv3plus": "DeepLabV3+",
    "enet": "ENet",
    "espnet": "ESPNet",
    "erfnet": "ERFNet",
}
CASES = [{"site": s.name, "case_id": f"{s.name}/Case{n:02}"} for s in SITES for n in range(s.cases)]
PART = "part"


@cache
def kept_slices(case_id: str, background_ratio: float) -> int:
    """Return how many slices of a case a training sees: those with gland, and a share of the others."""
    site, name = case_id.split("/Case")
    _, label, _ = make_case(site, int(name), size=32, slices=None, seed=0)
    filled = int(np.any(label > 0, axis=(0, 1)).sum())
    return filled + min(label.shape[2] - filled, round(background_ratio * filled))


@dataclass(frozen=True)
class Amount:
    """What a cell does: iterations by the name of their step, and volumes."""

    step: str
    network: str
    iterations: int = 0
    validated: int = 0
    tested: int = 0


def values_of(cell: Cell) -> dict[str, Any]:
    """Return the flags of a cell's command over the settings of the experiment over those of the bundle."""
    flags: dict[str, Any] = {}
    for word in cell.command:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals:
            flags[name] = _read(value)
    return {**json.loads(cell.settings), **flags}


def _read(value: str) -> Any:
    if value == "$None":
        return None
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def amount(cell: Cell, matrix: Matrix) -> Amount:
    """Return what one cell does."""
    networks = {one.name: one.bundle for one in (*matrix.teachers, *matrix.students)}
    bundle = networks[cell.row.network]
    config = json.loads((BUNDLES / f"prostate_mri_{bundle}" / "configs" / "train.json").read_text(encoding="utf-8"))
    values = {**config, **values_of(cell)}
    label = LABELS[bundle]
    if cell.kind == "test":
        return Amount(label, label, tested=len(_cases(values, values.get(PART, "test"), matrix.sites)))
    training = _cases(values, "training", matrix.sites)
    slices = sum(kept_slices(case["case_id"], values["background_ratio"]) for case in training)
    samples = values["samples_per_epoch"] or max(slices, values["batch_size"])
    step = label if cell.kind == "train" else f"{label} from {LABELS[networks[str(cell.row.teacher)]]}, online"
    validated = len(_cases(values, "validation", matrix.sites)) * (values["epochs"] // values["val_interval"])
    return Amount(step, label, values["epochs"] * (samples // values["batch_size"]), validated)


def _cases(values: dict[str, Any], part: str, sites: Sequence[str]) -> list[Any]:
    """Return a part of the cases of a cell; a student of all sites together learns at the sources as a teacher does."""
    seed = values["seed"] if values.get("split_seed") in (None, "@seed") else values["split_seed"]
    own = [case for case in CASES if values["sites"] is None or case["site"] in values["sites"]]
    found = list(split_cases(own, part, seed=seed, fold=values["fold"], folds=values["folds"]))  # type: ignore[arg-type]
    if "train#dataset#data" in values and part != "test":
        others = [case for case in CASES if case not in own and case["site"] in sites]
        found += split_cases(others, part, seed=seed, folds=None)  # type: ignore[arg-type]
    return found


def seconds(what: Amount, measured: Mapping[str, Any], feeding_ms: float) -> float:
    """Return the seconds of a cell.

    Raises:
        KeyError: if its kind of step, or its network's evaluation, was not measured.
    """
    total = 0.0
    if what.iterations:
        total += what.iterations * (measured["steps"][what.step]["ms"] + feeding_ms) / 1e3
    evaluation = measured["evaluation"][what.network]
    return total + what.validated * evaluation["validation"] + what.tested * evaluation["test"]


def hours(matrix: Matrix, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return cells, iterations and hours of an experiment: by role, and with slices fed in the process."""
    in_process = measured["feeding"]["0"]["batch_ms"]
    found: dict[str, Any] = defaultdict(float)
    for cell in expand(matrix, Path()):
        what = amount(cell, matrix)
        found["cells"] += 1
        found["iterations"] += what.iterations
        kind = "tests" if cell.kind == "test" else f"{cell.row.role}s"
        found[kind] += seconds(what, measured, 0.0) / 3600
        found["fed beside"] += seconds(what, measured, 0.0) / 3600
        found["fed in the process"] += seconds(what, measured, in_process) / 3600
    return found


def hours_table(experiments: Sequence[str], measured: Mapping[str, Any]) -> str:
    """Return a row for each experiment as Markdown."""
    heads = ["cells", "iterations", "teachers", "students", "tests", "fed beside", "fed in the process"]
    rows = []
    for name in experiments:
        # no case is read, so any folder will do for those that come without data
        matrix = read_matrix(experiment_file(name)[0], dataset_dir=".")
        try:
            found = hours(matrix, measured)
        except KeyError as missing:
            rows.append([f"{matrix.name}: {missing.args[0]} was not measured", *[""] * len(heads)])
            continue
        counts = [f"{found[head]:.0f}" for head in heads[:2]]
        rows.append([matrix.name, *counts, *(short(found[head]) for head in heads[2:])])
    return markdown_table(["experiment", *heads[:2], *(f"{head}, h" for head in heads[2:])], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row an experiment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hours", description="Hours of experiments.")
    parser.add_argument("measured", type=Path, help="what benchmarks.full_width wrote")
    parser.add_argument("experiments", nargs="+", help="files, or names of experiments of the package")
    asked = parser.parse_args(argv)
    print(hours_table(asked.experiments, json.loads(asked.measured.read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
