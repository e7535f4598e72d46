# SPDX-License-Identifier: Apache-2.0
"""What every table of an experiment says of itself: data, protocol, cases, folds, seeds, command and versions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from akd_monai.experiments._study.study import Study
from akd_monai.experiments._tables import shown

__all__ = ["DATA_KINDS", "slice_sizes", "study_facts", "test_cases", "versions"]

DATA_KINDS = {"synthetic": "SYNTHETIC phantom, no patients", "real": "Real cases"}


def study_facts(study: Study) -> list[tuple[str, str]]:
    """Return the facts of an experiment by their names, each in words that stand for themselves."""
    matrix = study.matrix
    cases = test_cases(study)
    targets = len(matrix.targets)
    folds = "without folds" if matrix.folds == 1 else f"{len(matrix.run_folds)} of {matrix.folds} folds"
    return [
        ("experiment", f"experiment {matrix.name}"),
        ("data", DATA_KINDS[study.data_kind]),
        ("protocol", f"protocol {matrix.protocol}"),
        ("cases", f"{cases} test {_plural('case', cases)} at {targets} target {_plural('site', targets)}"),
        ("folds", folds),
        ("seeds", f"{_plural('seed', len(matrix.seeds))} {shown(matrix.seeds)}"),
        ("slices", f"slices of {slice_sizes(study)}"),
        ("command", f"python -m akd_monai experiment {matrix.name}.json"),
        ("versions", versions(study)),
    ]


def slice_sizes(study: Study) -> str:
    """Return the size of the slices, or several where evaluations differ."""
    sizes = [record.get("spatial_size") for record in study.evaluations.values()]
    return _distinct(" × ".join(map(str, size)) for size in sizes if size is not None) or "unknown size"


def test_cases(study: Study) -> int:
    """Return how many cases of the targets were tested."""
    at_targets = study.scores[study.scores["method"] != "teacher_own_sites"]
    return int(at_targets.groupby("target")["case_id"].nunique().sum())


def versions(study: Study) -> str:
    """Return the versions of what trained and tested, all of them where they differ."""
    records = [*study.trainings.values(), *study.evaluations.values()]
    own = _distinct(record.get("version") for record in records)
    machines = [record["machine"] for record in records if isinstance(record.get("machine"), dict)]
    parts = [f"akd_monai {own}"]
    for package in ("torch", "monai"):
        found = _distinct(machine.get(package) for machine in machines)
        if found:
            parts.append(f"{package} {found}")
    return ", ".join(parts)


def _distinct(values: Iterable[Any]) -> str:
    return " or ".join(dict.fromkeys(shown(value) for value in values if value is not None))


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
