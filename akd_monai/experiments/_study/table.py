# SPDX-License-Identifier: Apache-2.0
"""A table of an experiment: a row for each network and way to learn, a column for each target, and the mean over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from akd_monai.experiments._comparison import METRICS, MIN_PAIRS, Metric
from akd_monai.experiments._study.beyond import with_labelled
from akd_monai.experiments._study.blocks import block_of
from akd_monai.experiments._study.budgets import budget_notes
from akd_monai.experiments._study.comparisons import CONTROL, MIN_RUNS, PLAIN, Finding, compare_rows, too_few
from akd_monai.experiments._study.facts import study_facts
from akd_monai.experiments._study.lines import Line, lines_of, own_site_lines
from akd_monai.experiments._study.study import Study
from akd_monai.experiments.crossed import CrossedSummary, crossed_summary

__all__ = ["CALIBRATION", "MEAN", "Table", "TableRow", "study_tables"]

MEAN = "mean"
OWN_SITES = "teacher_own_sites"
# expected calibration error, from 0 to 1
CALIBRATION = Metric("ece", "ECE", "", 3, False)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        line: network and how it learned.
        cells: one for each target, then the mean over the targets.
        against_plain: the row minus the plain student; ``None`` for that itself and for teachers.
        against_control: a distilled row minus the control; ``None`` where there is none.
        against_base: a row minus its base, the method to which it adds something; ``None`` where it names none.
    """

    line: Line
    cells: tuple[CrossedSummary, ...]
    against_plain: Finding | None
    against_control: Finding | None
    against_base: Finding | None = None

    @property
    def is_bold(self) -> bool:
        """Whether the mean may be printed bold: better than the plain student by the test and the interval."""
        return self.against_plain is not None and self.against_plain.outcome == "above"


@dataclass(frozen=True)
class Table:
    """A metric of one class for all rows.

    Attributes:
        metric: the metric.
        class_name: the class.
        columns: the targets, then :data:`MEAN`.
        rows: students with their controls and methods, then teachers.
        caption: data, protocol, cases, folds and seeds, and how to read a cell.
        notes: a sentence each, such as how many methods are above the plain student.
    """

    metric: Metric
    class_name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    caption: str
    notes: tuple[str, ...]


def study_tables(study: Study) -> list[Table]:
    """Return the tables of an experiment: one for each class and metric that was written."""
    metrics = [*METRICS, CALIBRATION] if "ece" in study.scores else list(METRICS)
    classes = sorted(study.scores["class"].unique())
    return [_table(study, metric, name) for name in classes for metric in metrics]


def _table(study: Study, metric: Metric, class_name: str) -> Table:
    findings = compare_rows(study, metric, class_name)
    targets = study.matrix.targets
    scores = study.scores[study.scores["class"] == class_name]
    rows = []
    for line in [*lines_of(study.matrix), *own_site_lines(study.matrix)]:
        sites = [block_of(scores, line, target, metric.key).to_numpy() for target in targets]
        cells = [crossed_summary([site]) for site in sites]
        against = {finding.other.method: finding for finding in findings if finding.line == line}
        base = next((finding for finding in against.values() if finding.other.is_method), None)
        found = (against.get(PLAIN), against.get(CONTROL), base)
        rows.append(TableRow(line, (*cells, crossed_summary(sites)), *found))
    return Table(
        metric=metric,
        class_name=class_name,
        columns=(*targets, MEAN),
        rows=tuple(rows),
        caption=_caption(study, metric, class_name),
        notes=_notes(study, metric, rows),
    )


def _caption(study: Study, metric: Metric, class_name: str) -> str:
    unit = f" in {metric.unit}" if metric.unit else ""
    named = f", class {class_name}" if class_name else ""
    given = dict(study_facts(study))
    return (
        f"{metric.label}{unit}{named}. {given['data']}; {given['protocol']}; {given['cases']}; {given['folds']}; "
        f"{given['seeds']}. Mean over cases and seeds with the 95 % interval over cases and, after the bar, over runs and "
        "cases; a run is a seed at a site. The last column is the mean over sites. Bold: better than w/o by Wilcoxon's "
        "test over cases, each a mean over seeds, adjusted by Holm for all comparisons of this table, and by the interval "
        "of the difference over runs and cases."
    )


def _notes(study: Study, metric: Metric, rows: Sequence[TableRow]) -> tuple[str, ...]:
    notes = []
    for student in study.matrix.students:
        for labelled in study.matrix.labelled_cases:
            place = (student.name, labelled)
            own = [row for row in rows if (row.line.network, row.line.labelled) == place and row.line.is_method]
            notes += _method_notes(with_labelled(student.name, labelled), own, metric)
    return (*notes, *_cautions(metric, rows), *_own_sites(study), *budget_notes(study.matrix))


def _method_notes(subject: str, rows: Sequence[TableRow], metric: Metric) -> list[str]:
    """Return how many methods of a student are better than the plain one and the control; baselines by themselves."""
    notes = []
    for what, methods in (
        (("method", "methods"), [row for row in rows if row.line.teacher is not None]),
        (
            ("baseline of generalisation", "baselines of generalisation"),
            [row for row in rows if row.line.teacher is None],
        ),
    ):
        plain = [row.against_plain for row in methods if row.against_plain is not None]
        control = [row.against_control for row in methods if row.against_control is not None]
        if plain:
            notes.append(_counted(subject, what, "w/o", plain, metric))
        if control:
            notes.append(_counted(subject, what, "the control pre-trained at the sources", control, metric))
    return notes


def _counted(subject: str, what: tuple[str, str], other: str, findings: Sequence[Finding], metric: Metric) -> str:
    sign = 1 if metric.higher_is_better else -1
    better = sum(finding.difference.mean * sign > 0 for finding in findings)
    shown = Counter(finding.outcome for finding in findings)
    word, worse = ("above", "below") if metric.higher_is_better else ("better than", "worse")
    one, many = what
    said = f"{better} of {len(findings)} {many} {word} {other}"
    if len(findings) == 1:
        said = f"the {one} is {'' if better else 'not '}{word} {other}"
    return (
        f"{subject}: {said} by the mean; shown by test and interval: "
        f"{shown['above']} {word.removesuffix(' than')}, {shown['below']} {worse}."
    )


def _cautions(metric: Metric, rows: Sequence[TableRow]) -> list[str]:
    findings = [finding for row in rows for finding in (row.against_plain, row.against_control) if finding is not None]
    said = []
    fewest = min((finding.difference.cases for finding in findings), default=MIN_PAIRS)
    runs = min((finding.difference.runs for finding in findings), default=MIN_RUNS)
    if any(finding.outcome == "few" for finding in findings):
        said.append(f"No row is called better or worse: {too_few(fewest, runs)}.")
    undefined = sum(row.cells[-1].undefined for row in rows)
    if undefined:
        values = "value is" if undefined == 1 else "values are"
        said.append(
            f"{undefined} {values} undefined, as for an empty prediction, and left out of means and differences: a row "
            "with more of them is compared on its easier cases."
        )
    return said


def _own_sites(study: Study) -> list[str]:
    records = [record for row, record in study.evaluations.items() if row.method == OWN_SITES]
    if not records:
        return []
    said = (
        "Teachers at their own sites are tested on other cases; a column names the site that the teacher has not seen."
    )
    if any(record.get("part") == "validation" for record in records):
        said += " These are the validation cases that chose its weights, and so too good."
    return [said]
