# SPDX-License-Identifier: Apache-2.0
"""The page of a finished experiment below ``docs/results``: ``python -m benchmarks.experiment_page OUTPUT_DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.experiments._pages.facts import machine_pairs, matrix_pairs, split_rows, time_pairs, training_pairs
from akd_monai.experiments._study.study import Study, read_study
from akd_monai.tables import markdown_table

RESULTS = Path(__file__).parent.parent / "docs" / "results"
TABLES = (
    ("dice", "Dice"),
    ("hd95", "95th percentile of the Hausdorff distance"),
    ("asd", "Average surface distance"),
    ("ece", "Calibration error"),
    ("cost", "What it cost"),
)
DATA = {
    "synthetic": "The cases are **synthetic**, of the [phantom](../explanation/phantom.md): nothing here is about patients.",
    "real": "The cases are real MRI.",
}
READING = (
    "In a cell stand the mean over cases, its 95 % interval over cases, and after the bar the interval over trainings and "
    "cases. How to read it: [read the report](../how-to/read-the-report.md)."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page of an experiment's folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment_page", description=__doc__)
    parser.add_argument("output_dir", type=Path, help="folder of the experiment, whose report is written")
    parser.add_argument(
        "--data", required=True, help="how the cases were made or where they are from: a command or words"
    )
    parser.add_argument("--file", help="what the command names; by default the experiment, as a shipped one has it")
    parser.add_argument("--page", type=Path, help="file to write; docs/results/NAME.md by default")
    parser.add_argument("--note", action="append", default=[], help="a sentence for the head of the page")
    asked = parser.parse_args(argv)
    parts = sorted(path.parent for path in asked.output_dir.glob("*/cells"))
    if parts and asked.page:
        parser.error(
            f"--page names one file, and {asked.output_dir} has {len(parts)} parts, each with a page of its own"
        )
    try:
        for folder in parts or [asked.output_dir]:
            study = read_study(folder)
            target = asked.page or RESULTS / f"{study.matrix.name}.md"
            outer = asked.output_dir.name if parts else None
            target.write_text(page(study, folder, asked.data, asked.file, asked.note, outer), encoding="utf-8")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if parts:
        joint = RESULTS / f"{asked.output_dir.name}.md"
        joint.write_text(joint_page(asked.output_dir, [path.name for path in parts]), encoding="utf-8")
    return 0


def joint_page(folder: Path, parts: Sequence[str]) -> str:
    """Return what an experiment of several parts says side by side, with a line that leads to the page of each part."""
    title, *rest = (folder / "report" / "tables" / "dice.md").read_text(encoding="utf-8").split("\n\n")
    links = [f"[{name}]({name}.md)" for name in parts]
    return "\n\n".join([title, f"Each part in full: {', '.join(links)}.", *rest]).strip() + "\n"


def page(
    study: Study,
    folder: Path,
    data: str,
    file: str | None = None,
    notes: Sequence[str] = (),
    outer: str | None = None,
) -> str:
    """Return the report of an experiment as Markdown.

    Args:
        study: the experiment, complete.
        folder: of the experiment, whose report is written.
        data: how the cases were made or where they are from.
        file: what the command names, by default the experiment's name.
        notes: sentences for the head of the page.
        outer: the experiment that this one is a part of.
    """
    tables = folder / "report" / "tables"
    name = study.matrix.name
    shown = outer or name
    parts = [
        f"# {name}",
        DATA[study.data_kind],
        *notes,
        f"Cases: {data}",
        f"```bash\npython -m akd_monai experiment {file or shown} --dataset_dir DATA --output_dir {shown} --jobs 2\n"
        f"python -m benchmarks.experiment_page {shown} --data ...\n```",
        "## Answer",
        _without_signature((tables / "answers.md").read_text(encoding="utf-8")),
        READING,
    ]
    for stem, title in TABLES:
        table = tables / f"{stem}.md"
        if table.is_file():
            parts += [f"## {title}", _without_signature(table.read_text(encoding="utf-8"))]
    splits = split_rows(study)
    parts += ["## How it was run", markdown_table(splits["columns"], splits["rows"])]
    pairs = [*matrix_pairs(study.matrix), *training_pairs(study), *time_pairs(study), *machine_pairs(study)]
    parts.append(markdown_table(["", ""], [*map(list, pairs), ["cells that were started again", _restarted(folder)]]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _without_signature(written: str) -> str:
    """Return a table's file without its last line, whose facts the page states once."""
    return written.strip().rpartition("\n\n")[0]


def _restarted(folder: Path) -> str:
    results: list[dict[str, Any]] = []
    for file in sorted((folder / "cells").rglob("result.json")):
        results.append(json.loads(file.read_text(encoding="utf-8")))
    again = [result["cell"] for result in results if result.get("starts", 1) > 1]
    return f"{len(again)}: {', '.join(again)}" if again else "none"


if __name__ == "__main__":
    sys.exit(main())
