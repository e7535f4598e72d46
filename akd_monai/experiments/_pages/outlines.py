# SPDX-License-Identifier: Apache-2.0
"""Outlines of the best, median and worst case of every target, as in figures 3 and 4 of the paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.data._case_pictures import ContourRow, contour_figure
from akd_monai.data.cases import read_cases
from akd_monai.errors import InputError
from akd_monai.experiments._pictures import contour_rows
from akd_monai.experiments._plan.cell import Cell
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._study.lines import Line, lines_of
from akd_monai.experiments.results import CaseFiles, Results, Role, System, case_key, read_case_rows
from akd_monai.names import stem_of

__all__ = ["MOST_CHARACTERS", "PICTURE_RULE", "picture_groups"]

PICTURE_RULE = (
    "For each target the worst, the median and the best case by the Dice of the first method from the first teacher, at the "
    "first seed and number of labelled cases: the order in the experiment's file decides, not the outcome. One slice a "
    "case, that with the largest reference area; Dice is that of the complete case in 3D. The patient's right is at the "
    "left."
)
# of all pictures together, as they stand in the page, which is to stay below 5 million
MOST_CHARACTERS = 3_000_000
_RANKS = ("worst", "median", "best")


def picture_groups(
    matrix: Matrix, cells: Sequence[Cell], as_uri: Callable[[bytes], str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the pictures of each student, and a sentence for each file skipped.

    Args:
        matrix: the experiment.
        cells: of the experiment; predictions are read from the folders of its tests.
        as_uri: turns a PNG into the source of an image.
    """
    try:
        cases = {case["case_id"]: case for case in read_cases(matrix.dataset_dir, list(matrix.targets))}
    except InputError as error:
        return [], [f"The outlines are missing: {error}"]
    groups: list[dict[str, Any]] = []
    skipped: list[str] = []
    room = MOST_CHARACTERS
    for student in matrix.students:
        pictures: list[dict[str, str]] = []
        left_out = []
        for target in matrix.targets:
            rows, unread = contour_rows(_record(matrix, cells, student.name, target, cases), ".", limit=len(_RANKS))
            skipped += unread
            found = [_picture(rank, row, as_uri) for rank, row in zip(_ranks(len(rows)), rows, strict=True)]
            size = sum(len(picture["uri"]) for picture in found)
            if size > room:
                left_out.append(target)
                continue
            room -= size
            pictures += found
        if left_out:
            skipped.append(f"Outlines of {student.name} at {', '.join(left_out)} are left out to keep the page small.")
        if pictures:
            groups.append({"heading": student.name, "pictures": pictures})
    return groups, list(dict.fromkeys(skipped))


def _ranks(count: int) -> Sequence[str]:
    """Return what the cases are called, from the worst to the best; nothing where there are fewer than three."""
    return _RANKS if count == len(_RANKS) else [""] * count


def _picture(rank: str, row: ContourRow, as_uri: Callable[[bytes], str]) -> dict[str, str]:
    titled = dataclasses.replace(row, title=f"{rank}: {row.title}" if rank else row.title)
    return {"title": titled.title.splitlines()[0], "uri": as_uri(contour_figure([titled], legend=False))}


def _record(
    matrix: Matrix, cells: Sequence[Cell], student: str, target: str, cases: Mapping[str, Mapping[str, str]]
) -> Results:
    """Return the record of one student at one target and the first seed, as the pictures read it."""
    labelled = matrix.labelled_cases[0]
    shown: list[tuple[Line, Role]] = [
        (Line("teacher", matrix.teachers[0].name, "teacher_zero_shot"), "teacher"),
        (Line("student", student, "without", labelled=labelled), "baseline"),
    ]
    of_student = [line for line in lines_of(matrix) if line.network == student and line.labelled == labelled]
    methods = [line for line in of_student if line.is_method]
    if methods:
        shown.append((methods[0], "distilled"))
    systems: list[System] = []
    for line, role in shown:
        own = [c for c in cells if c.kind == "test" and line.has(c.row) and c.row.target == target]
        first = [c for c in own if c.row.seed == matrix.seeds[0]]
        system = _system(line, role, first, cases)
        if system["per_case"]:
            systems.append(system)
    tested = {case_key(row) for system in systems for row in system["per_case"]}
    images = {key: CaseFiles(image=c["image"], label=c["label"]) for key, c in cases.items() if key in tested}
    return {"systems": systems, "images": images}


def _system(line: Line, role: Role, cells: Sequence[Cell], cases: Mapping[str, Mapping[str, str]]) -> System:
    system: System = {"key": line.label, "label": line.how, "role": role, "per_case": [], "predictions": {}}
    for cell in cells:
        output = Path(cell.folder) / "eval"
        if not (output / "per_case.csv").is_file():
            continue
        rows = read_case_rows(output / "per_case.csv")
        system["per_case"] += rows
        for row in rows:
            key = case_key(row)
            if key in cases:
                image = Path(cases[key]["image"])
                system["predictions"][key] = str(output / image.parent.name / f"{stem_of(image)}_pred.nii.gz")
    return system
