# SPDX-License-Identifier: Apache-2.0
"""Results of a bundle's weights in its README and metadata, as an evaluation measured them."""

from __future__ import annotations

import csv
import json
import math
import statistics
from pathlib import Path
from typing import Any

from akd_monai._home import without_home
from akd_monai.bundle._results import METRICS, RESULTS, has_section, metadata_with_results, readme_with_results
from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_sha256
from akd_monai.errors import InputError
from akd_monai.files import atomic_write

__all__ = ["publish_results"]


def publish_results(bundle_dir: str | Path, rows_file: str | Path, *, data: str, trained_by: str | None = None) -> Path:
    """Write an evaluation's results into a bundle: ``docs/results.json``, its README and its metadata.

    Args:
        bundle_dir: the bundle's folder, with the weights that were evaluated.
        rows_file: the table of cases that ``configs/evaluate.json`` wrote, ``per_case.csv``.
        data: what they were evaluated on, in words: data, sites, part, and whether it is synthetic.
        trained_by: the command that trained the weights; ``$HOME`` is written for the home folder.

    Returns:
        The path of the README.

    Raises:
        InputError: if there is no row, the README has no section ``## Performance``, or ``data`` is empty.

    Example:
        >>> publish_results("bundles/prostate_mri_enet", "per_case.csv", data="")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: publish must say what was evaluated on, for instance ...
    """
    if not str(data).strip():
        raise InputError('publish must say what was evaluated on, for instance --publish "I2CVB, fold 0 of 4".')
    readme = bundle_path(bundle_dir, "docs", "README.md")
    if not (readme.is_file() and has_section(readme.read_text(encoding="utf-8"))):
        raise InputError(f"{str(readme)!r} has no section '## Performance' to write to; add the heading.")
    rows = _rows(rows_file)
    results = {
        "data": without_home(str(data)),
        "trained_by": None if trained_by is None else without_home(trained_by, "$HOME"),
        "weights_sha256": weights_sha256(bundle_dir),
        "cases": len({row["case_id"] for row in rows}),
        "classes": _classes(rows),
    }
    metadata = metadata_with_results(read_metadata(bundle_dir), results)
    _write(bundle_path(bundle_dir, RESULTS), results)
    atomic_write(readme, readme_with_results(readme.read_text(encoding="utf-8"), results))
    _write(bundle_path(bundle_dir, "configs", "metadata.json"), metadata)
    return readme


def _write(path: Path, content: Any) -> None:
    # with the indent of the configs, so that an assembled bundle stays as it is
    atomic_write(path, json.dumps(content, indent=4) + "\n")


def _rows(table: str | Path) -> list[dict[str, str]]:
    with Path(table).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise InputError(f"{str(table)!r} has no cases; run configs/evaluate.json on a part that has some.")
    return rows


def _classes(rows: list[dict[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys(row["class"] for row in rows):
        of_class = [row for row in rows if row["class"] == name]
        found[name] = {key: _summary(_column(of_class, key)) for key in METRICS}
    return found


def _column(rows: list[dict[str, str]], key: str) -> list[float]:
    return [float(row[key]) if row[key] else math.nan for row in rows]


def _summary(values: list[float]) -> dict[str, Any]:
    # an undefined distance (an empty mask) is counted, never dropped silently
    defined = [value for value in values if math.isfinite(value)]
    return {
        "mean": round(statistics.fmean(defined), 4) if defined else None,
        "sd": round(statistics.stdev(defined), 4) if len(defined) > 1 else None,
        "undefined": len(values) - len(defined),
    }
