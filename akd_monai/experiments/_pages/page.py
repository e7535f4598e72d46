# SPDX-License-Identifier: Apache-2.0
"""Write the pages of an experiment: everything they show is in them, so that they open offline and can be passed on."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai._home import without_home
from akd_monai.bundle._configs import load_config
from akd_monai.errors import InputError
from akd_monai.experiments._cards.cards import write_cards
from akd_monai.experiments._pages import is_experiment
from akd_monai.experiments._pages.content import report_content
from akd_monai.experiments._pages.contradictions import CONTRADICTIONS, resolved
from akd_monai.experiments._pages.paper import PAPER
from akd_monai.experiments._pages.parts import parts_of, write_parts_report
from akd_monai.experiments._plan.matrix import Matrix
from akd_monai.experiments._plan.methods import Method
from akd_monai.experiments._study.study import read_study
from akd_monai.experiments._study.table import study_tables
from akd_monai.experiments._study.written import write_tables
from akd_monai.experiments._tables import shown
from akd_monai.experiments._templates import rendered
from akd_monai.files import as_path, atomic_write

__all__ = ["write_study_report"]

_EARLIER = "earlier"


def write_study_report(output_dir: str | os.PathLike[str]) -> Path:
    """Write the report of an experiment's folder: in ``report`` ``index.html``, ``paper.html``, ``tables`` and ``cards``.

    Of an experiment of parts, the report of each is written, and a page over all of them.

    Equal results give equal bytes; what the networks cost is measured once and kept in ``report/costs.json``. The pages
    have no link to the outside and run no script.

    Args:
        output_dir: of the experiment.

    Returns:
        The report.

    Raises:
        InputError: if a table of the experiment would be wrong: a cell is missing, or cells are of different data, splits
            or protocols. The page then says so in place of an earlier one.
    """
    folder = as_path(output_dir, "output_dir")
    parts = parts_of(folder)
    for part in parts:
        write_study_report(part)
    if parts:
        return write_parts_report(folder)
    report = folder / "report"
    try:
        study = read_study(folder)
    except InputError as error:
        _refuse(folder, report, error)
        raise
    tables = study_tables(study)
    write_tables(study, report, tables)
    write_cards(study, report / "cards", tables)
    atomic_write(report / "paper.html", rendered("paper.html", _paper(study.matrix, folder)))
    shutil.rmtree(report / _EARLIER, ignore_errors=True)
    return atomic_write(
        report / "index.html", rendered("experiment.html", report_content(study, tables, folder, report))
    )


def _refuse(folder: Path, report: Path, error: InputError) -> None:
    """Put the reason in the place of an earlier report, if the folder is that of an experiment."""
    if not is_experiment(folder):
        return
    sentences = without_home(str(error)).splitlines()
    # a folder that cannot be written to must not hide what is wrong
    with contextlib.suppress(OSError, InputError):
        _set_aside(report)
        if (report / _EARLIER).is_dir():
            sentences.append(f"Tables, model cards and pages of an earlier state of the experiment are in {_EARLIER}/.")
        content = {"title": folder.resolve().name, "refusals": sentences, "kind": ""}
        atomic_write(report / "index.html", rendered("experiment.html", content))


def _set_aside(report: Path) -> None:
    """Move what an earlier call has written to where nobody takes it for the present state."""
    for name in ("tables", "cards", "paper.html"):
        if (report / name).exists():
            (report / _EARLIER).mkdir(exist_ok=True)
            before = report / _EARLIER / name
            if before.is_dir():
                shutil.rmtree(before)
            os.replace(report / name, before)


def _paper(matrix: Matrix, folder: Path) -> dict[str, Any]:
    """Return what the page on the paper shows: each contradiction with the values in the configs that were run."""
    config = _distillation(matrix, folder)
    places = []
    for one in CONTRADICTIONS:
        found = [(name, resolved(config, name)) for name in one.ids]
        values = [(name, shown(value)) for name, value in found if value is not None]
        places.append({"title": one.title, "printed": one.printed, "reading": one.reading, "settings": values})
    methods = []
    for method in matrix.methods:
        changes = [*_learning(method), *((name, shown(value)) for name, value in sorted(method.settings.items()))]
        methods.append({"name": method.name, "terms": shown(method.terms), "changes": changes})
    return {"title": matrix.name, "paper": PAPER, "places": places, "methods": methods}


def _learning(method: Method) -> list[tuple[str, str]]:
    """Return what a method has that not every method has."""
    named = {"recipe": method.recipe, "baseline": method.generalise, "starts from": method.initial}
    if method.teacher != "sources":
        named["teacher"] = method.teacher
    return [(name, without_home(value)) for name, value in named.items() if value is not None]


def _distillation(matrix: Matrix, folder: Path) -> Mapping[str, Any]:
    """Return the configs that the first student was trained with, one laid over the other."""
    configs = folder / "bundles" / f"student-{matrix.students[0].name}" / "configs"
    merged: dict[str, Any] = {}
    for name in ("train.json", "distill.json"):
        if (configs / name).is_file():
            merged.update(load_config(configs / name))
    return merged
