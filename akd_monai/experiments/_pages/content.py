# SPDX-License-Identifier: Apache-2.0
"""What the report of an experiment shows, section by section."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from akd_monai._home import map_strings, without_home
from akd_monai.data import SITES
from akd_monai.experiments._pages.calibration import reliability_panels
from akd_monai.experiments._pages.costs import SLICES, measured_costs
from akd_monai.experiments._pages.curves import curve_groups
from akd_monai.experiments._pages.facts import (
    machine_pairs,
    matrix_pairs,
    shown_labelled,
    split_rows,
    time_pairs,
    training_pairs,
)
from akd_monai.experiments._pages.figures import Point, box_figure, cost_figure, reliability_figure
from akd_monai.experiments._pages.outlines import PICTURE_RULE, picture_groups
from akd_monai.experiments._pages.paper import PRINTED_BESIDE
from akd_monai.experiments._pages.tables import calibration_content, comparison_content, table_content
from akd_monai.experiments._plan.commands import bundle_settings
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._protocols import PROTOCOLS
from akd_monai.experiments._study.answer import study_answers
from akd_monai.experiments._study.comparisons import MIN_RUNS
from akd_monai.experiments._study.lines import Line, dice_by_case, lines_of, mean_by_target
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._study.table import Table
from akd_monai.experiments._tables import number, shown
from akd_monai.experiments._templates import data_uri

__all__ = ["report_content"]

_PAPER_SIZE = [384, 384]


def report_content(study: Study, tables: Sequence[Table], folder: Path, report: Path) -> dict[str, Any]:
    """Return what the template of the report needs.

    Args:
        study: the experiment's results, complete and of one kind.
        tables: of the experiment.
        folder: of the experiment.
        report: folder of the page, which keeps what the networks cost.
    """
    matrix = study.matrix
    cells = study.cells
    lines = lines_of(matrix)
    scores = _first_class(study.scores)
    costs = _costs(matrix, folder, report)
    pictures, skipped = picture_groups(matrix, cells, data_uri)
    panels = reliability_panels(cells, lines)
    return {
        "title": matrix.name,
        "kind": study.data_kind,
        "refusals": [],
        "facts": _facts(matrix),
        "answers": study_answers(study),
        "cautions": map_strings([*_cautions(study), *skipped], without_home),
        "tables": table_content(study, tables),
        "comparisons": comparison_content(tables),
        "files": _files(report, "tables"),
        "cards": _files(report, "cards"),
        "beside": _beside(matrix.targets),
        "boxes": data_uri(box_figure(_boxes(scores, lines, matrix.targets))),
        **_cost_content(scores, lines, matrix, costs),
        "pictures": pictures,
        "picture_rule": PICTURE_RULE,
        "curves": curve_groups(cells, lines, matrix.targets, data_uri),
        "calibration": calibration_content(tables),
        "reliability": data_uri(reliability_figure(panels)) if panels else "",
        "protocol_name": matrix.protocol,
        "protocol": PROTOCOLS.get(matrix.protocol, ""),
        "splits": split_rows(study),
        "pairs": [
            ("The experiment", matrix_pairs(matrix)),
            ("Trainings", training_pairs(study)),
            ("Computer and packages", machine_pairs(study)),
            ("Time", time_pairs(study)),
        ],
        "commands": [f"python -m akd_monai experiment {matrix.name}.json", "python -m akd_monai report OUTPUT_DIR"],
    }


def _first_class(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of the first class, which figures show; tables have all."""
    first = sorted(scores["class"].unique())[0]
    return pd.DataFrame(scores[scores["class"] == first])


def _files(report: Path, name: str) -> list[str]:
    """Return the files of a folder beside the page, as the page links them."""
    return sorted(f"{name}/{path.name}" for path in (report / name).glob("*.*"))


def _cautions(study: Study) -> list[str]:
    """Return what a reader must know before the figures."""
    matrix = study.matrix
    cautions = []
    size = matrix.settings.get("spatial_size", _PAPER_SIZE)
    if list(size) != _PAPER_SIZE:
        cautions.append(f"Slices of {size[0]} × {size[1]} pixels; the paper’s networks take 384 × 384.")
    if len(matrix.seeds) < MIN_RUNS:
        cautions.append("One seed: nothing is known of what other trainings would give, so nothing is claimed.")
    if len(matrix.run_folds) < matrix.folds:
        cautions.append(f"{len(matrix.run_folds)} of {matrix.folds} folds were run: some cases were never tested.")
    if len(study.scores["class"].unique()) > 1:
        cautions.append("There are several classes; figures show the first of them, tables all.")
    return cautions


def _facts(matrix: Matrix) -> list[tuple[str, str]]:
    labelled = [] if matrix.labelled_cases == (None,) else [("Labelled cases", shown_labelled(matrix))]
    return [
        ("Protocol", matrix.protocol),
        ("Target sites", shown(matrix.targets)),
        ("Folds", f"{len(matrix.run_folds)} of {matrix.folds}"),
        *labelled,
        ("Seeds", shown(matrix.seeds)),
        ("Students", shown([n.name for n in matrix.students])),
        ("Teachers", shown([n.name for n in matrix.teachers])),
    ]


def _beside(targets: Sequence[str]) -> dict[str, Any]:
    """Return the rows of other methods that the paper prints, where a target is one of its sites."""
    names = [site.name for site in SITES]
    known = [target for target in targets if target in names]
    rows = []
    for method, values in PRINTED_BESIDE.items():
        rows.append({"label": method, "cells": [number(values[names.index(t)], 3) for t in known]})
    return {"columns": known, "rows": rows if known else []}


def _boxes(scores: pd.DataFrame, lines: Sequence[Line], targets: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    panels = {}
    for target in targets:
        panels[target] = {line.label: list(dice_by_case(scores, line, target).values()) for line in lines}
    return panels


def _costs(matrix: Matrix, folder: Path, report: Path) -> dict[str, Any]:
    settings = {}
    bundles = {}
    size = matrix.settings.get("spatial_size", _PAPER_SIZE)
    for role, networks in (("student", matrix.students), ("teacher", matrix.teachers)):
        for network in networks:
            name = f"{role}-{network.name}"
            changed = bundle_settings(matrix, network)
            settings[name] = {"bundle": network.bundle, **changed}
            bundles[name] = folder / "bundles" / name
    return measured_costs(bundles, size, settings, report)


def _cost_content(
    scores: pd.DataFrame, lines: Sequence[Line], matrix: Matrix, costs: Mapping[str, Any]
) -> dict[str, Any]:
    kinds = {"parameters": "parameters", "cpu_seconds": f"CPU seconds a volume of {SLICES} slices"}
    panels: dict[str, list[Point]] = {shown_as: [] for shown_as in kinds.values()}
    for line in lines:
        means = [m for m in mean_by_target(scores, line, matrix.targets) if not math.isnan(m)]
        measured = costs["networks"][f"{line.role}-{line.network}"]
        if not means:
            continue
        for key, shown_as in kinds.items():
            panels[shown_as].append(Point(line.label, line.network, measured[key], sum(means) / len(means)))
    rows = []
    # in the order of the experiment, whatever that of the record is
    networks = [("student", n.name) for n in matrix.students] + [("teacher", n.name) for n in matrix.teachers]
    for role, network in networks:
        measured = costs["networks"][f"{role}-{network}"]
        rows.append(
            {
                "label": f"{network} ({role})",
                "parameters": f"{measured['parameters']:,}",
                "gflops": number(measured["gflops"], 3),
                "seconds": number(measured["cpu_seconds"], 2),
            }
        )
    height, width = costs["identity"]["size"]
    note = (
        f"A slice of {height} × {width}, a volume of {SLICES} of them, measured on {costs['machine']['cpu']}. Times depend "
        "on the computer and on what else it was doing; compare them with each other only."
    )
    drawn = any(panels.values())
    return {"costs": rows, "cost_note": note, "cost_picture": data_uri(cost_figure(panels)) if drawn else ""}
