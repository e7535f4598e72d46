# SPDX-License-Identifier: Apache-2.0
"""One HTML page on an experiment that holds everything it shows, so that it opens offline and can be passed on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from akd_monai._home import map_strings, without_home
from akd_monai.data._case_pictures import contour_figure
from akd_monai.errors import InputError
from akd_monai.experiments import _tables as tables
from akd_monai.experiments._comparison import FEW_CASES, METRICS, MIN_PAIRS, cautions, class_names, compare
from akd_monai.experiments._explanation import explanations
from akd_monai.experiments._figures import curves_figure
from akd_monai.experiments._pages import is_experiment, write_study_report
from akd_monai.experiments._pictures import MAX_CASES, contour_rows
from akd_monai.experiments._protocols import IN_WORDS, PROTOCOLS
from akd_monai.experiments._templates import data_uri, rendered
from akd_monai.experiments.results import Data, Mlflow, Results, read_results, write_results
from akd_monai.files import as_path, atomic_write

__all__ = ["rebuild_report", "render_page", "write_report"]

# they are to be pasted into a shell, which does not replace ~ everywhere
_COMMANDS = ("commands", "mlflow")
# paths of these are those of files, which are found again
_FILES = ("systems", "images")


def write_report(results: Results, output_dir: str | os.PathLike[str]) -> Path:
    """Write ``index.html`` and ``results.json``, from which the page can be rebuilt.

    Equal results give equal bytes. The page has no link to the outside and runs no script. Neither file names the home
    folder or the user: ``~`` stands for it, and ``$HOME`` in commands.

    Args:
        results: the record, see :class:`~akd_monai.experiments.results.Results`; relative paths in it are relative to
            ``output_dir``. A picture whose files are missing is skipped, and the page says so.
        output_dir: folder of both files.

    Returns:
        The page.

    Raises:
        InputError: if the record lacks something that the page needs.
    """
    folder = Path(output_dir)
    results = _private(results)
    write_results(results, folder / "results.json")
    return atomic_write(folder / "index.html", render_page(results, folder))


def rebuild_report(results: str | os.PathLike[str], output_dir: str | os.PathLike[str] | None = None) -> Path:
    """Rebuild the report page from a written record, or that of an experiment from its folder.

    Args:
        results: ``results.json`` or its folder; or the folder of an experiment, whose pages are in ``report`` below it.
        output_dir: folder of the page; by default that of the record. The pages of an experiment stay in its folder,
            because they lead to tables there.

    Raises:
        InputError: if there is no record, or an experiment's tables would be wrong: a cell is missing, or cells are of
            different data, splits or weights.
    """
    path = as_path(results, "results")
    if is_experiment(path):
        if output_dir is not None:
            what = "the pages of an experiment lie in its folder, and output_dir cannot be given"
            raise InputError(what, where=str(path), remedy="leave it out, and copy the folder 'report'")
        return write_study_report(path)
    folder = path if path.is_dir() else path.parent
    return write_report(read_results(path), folder if output_dir is None else output_dir)


def render_page(results: Results, folder: str | os.PathLike[str]) -> str:
    """Return the page as a string; relative paths in ``results`` are relative to ``folder``."""
    results = _private(results)
    comparisons = compare(results)
    rows, skipped = contour_rows(results, folder)
    histories = {s["label"]: s["history"] for s in results["systems"] if s.get("history")}
    context: dict[str, Any] = {
        # An entry that may be missing is empty, so that a slip in the template still shows as an error.
        "results": dict.fromkeys(Results.__annotations__) | results,
        "data": dict.fromkeys(Data.__annotations__) | results["data"],
        "mlflow": results.get("mlflow") and dict.fromkeys(Mlflow.__annotations__) | results["mlflow"],
        "protocol": PROTOCOLS.get(results["protocol"], ""),
        "protocol_in_words": IN_WORDS.get(results["protocol"], results["protocol"]),
        "warnings": [*results.get("warnings", []), *cautions(results, comparisons), *skipped],
        "metrics": METRICS,
        "findings": tables.findings(comparisons),
        "explanations": explanations(results, comparisons),
        "scores": tables.score_tables(results),
        "comparisons": tables.comparison_rows(comparisons),
        "profiles": tables.profile_rows(results),
        "cases": tables.case_tables(results),
        "splits": tables.split_table(results),
        "curves": data_uri(curves_figure(histories)) if histories else "",
        # One picture a case, so that a printed page breaks between them.
        "contours": [(row.title.splitlines()[0], data_uri(contour_figure([row], legend=False))) for row in rows],
        "contour_rule": len(results.get("images", {})) > MAX_CASES,
        "several_classes": len(class_names(results)) > 1,
        "few_cases": FEW_CASES,
        "min_pairs": MIN_PAIRS,
    }
    return rendered("report.html", context)


def _private(results: Results) -> Results:
    """Return the results without home folder and user, except where files are found."""
    private: dict[str, Any] = {}
    for name, value in results.items():
        if name in _FILES:
            private[name] = value
        elif name in _COMMANDS:
            private[name] = map_strings(value, lambda text: without_home(text, "$HOME"))
        else:
            private[name] = map_strings(value, without_home)
    return cast("Results", private)
