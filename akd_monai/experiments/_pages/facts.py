# SPDX-License-Identifier: Apache-2.0
"""How an experiment was run: its cells' own records of data, settings, machine and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from akd_monai._home import without_home
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._study.study import Study
from akd_monai.experiments._tables import shown

__all__ = ["machine_pairs", "matrix_pairs", "shown_labelled", "split_rows", "time_pairs", "training_pairs"]

Pairs = list[tuple[str, str]]
_TRAINING = (
    ("spatial_size", "size of a slice"),
    ("epochs", "epochs"),
    ("batch_size", "batch size"),
    ("learning_rate", "learning rate"),
    ("schedule", "schedule"),
    ("device", "device"),
    ("amp", "mixed precision"),
    ("version", "akd_monai"),
)
_GIB = 2**30


def matrix_pairs(matrix: Matrix) -> Pairs:
    """Return what the experiment's file says."""
    values = {
        "protocol": matrix.protocol,
        "sites": matrix.sites,
        "targets": matrix.targets,
        "folds": f"{len(matrix.run_folds)} of {matrix.folds}",
        "seeds": matrix.seeds,
        "teachers": [_network(n) for n in matrix.teachers],
        "students": [_network(n) for n in matrix.students],
        "methods": [m.name for m in matrix.methods],
        **({} if matrix.labelled_cases == (None,) else {"labelled cases": shown_labelled(matrix)}),
        "controls": matrix.controls,
        **matrix.settings,
    }
    return [(name, without_home(shown(value))) for name, value in values.items()]


def shown_labelled(matrix: Matrix) -> str:
    """Return the numbers of labelled cases for a reader."""
    return ", ".join("all" if count is None else str(count) for count in matrix.labelled_cases)


def _network(network: Any) -> str:
    changed = f" ({shown(network.settings)})" if network.settings else ""
    adapted = f" (from the sources: {shown(network.adapt)})" if network.adapt else ""
    return f"{network.name}{changed}{adapted}"


def training_pairs(study: Study) -> Pairs:
    """Return the settings of the trainings; where teachers and students differ, both."""
    pairs = []
    for key, name in _TRAINING:
        by_role = {}
        for role in ("teacher", "student"):
            found = _distinct(record.get(key) for row, record in study.trainings.items() if row.role == role)
            if found:
                by_role[role] = " or ".join(found)
        said = [f"{role}s {value}" for role, value in by_role.items()]
        if len(set(by_role.values())) == 1:
            said = list(by_role.values())[:1]
        if said:
            pairs.append((name, "; ".join(said)))
    return pairs


def machine_pairs(study: Study) -> Pairs:
    """Return the facts about the computers that the trainings ran on, joined where there were several."""
    given = (record.get("machine") for record in study.trainings.values())
    machines = [machine for machine in given if isinstance(machine, Mapping)]
    names = dict.fromkeys(name for machine in machines for name in machine)
    return [(name, " or ".join(_distinct(machine.get(name) for machine in machines))) for name in names]


def time_pairs(study: Study) -> Pairs:
    """Return how long the cells took together."""
    pairs = [("cells", str(len(study.cells)))]
    for key, name in (("seconds", "time of all cells"), ("cpu_seconds", "processor time")):
        given = _figures(study, key)
        if given:
            pairs.append((name, _hours(sum(given))))
    peaks = _figures(study, "peak_memory_bytes")
    if peaks:
        pairs.append(("most memory of a cell", f"{max(peaks) / _GIB:.2f} GiB"))
    return pairs


def _figures(study: Study, key: str) -> list[float]:
    values = (result.get(key) for result in study.results.values())
    return [value for value in values if isinstance(value, (int, float))]


def split_rows(study: Study) -> dict[str, Any]:
    """Return how many cases each target has for what, over the folds that were run."""
    columns = ["Target", "Test", "Student's training", "Student's validation", "Teacher's training"]
    rows = []
    for target in study.matrix.targets:
        alone = [r for r in study.evaluations if r.target == target and r.method == "without"]
        tested = {case for row in alone for case in study.evaluations[row].get("case_ids") or ()}
        students = [study.trainings[row] for row in alone]
        sources = [r for r in study.trainings if r.target == target and (r.role, r.method) == ("teacher", "sources")]
        counts = [
            _numbers(study.matrix) or _counts(students, "case_ids"),
            _counts(students, "validation_case_ids"),
            _counts([study.trainings[row] for row in sources], "case_ids"),
        ]
        rows.append([target, str(len(tested)), *counts])
    return {"columns": columns, "rows": rows}


def _numbers(matrix: Matrix) -> str:
    """Return how many cases a student learns from where the experiment says so."""
    counts = [str(count) for count in matrix.labelled_cases if count is not None]
    return " or ".join(counts) if len(counts) == len(matrix.labelled_cases) else ""


def _counts(records: Iterable[Mapping[str, Any]], key: str) -> str:
    numbers = sorted({len(record.get(key) or ()) for record in records})
    if len(numbers) > 1:
        return f"{numbers[0]} to {numbers[-1]} a fold"
    return str(numbers[0]) if numbers else "n/a"


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(without_home(shown(value)) for value in values if value is not None))


def _hours(seconds: float) -> str:
    """Return a duration for a reader.

    Example:
        >>> _hours(90), _hours(5400)
        ('1.5 minutes', '1.5 hours')
    """
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
