# SPDX-License-Identifier: Apache-2.0
"""What a bundle's weights reach, in its README and metadata, as an evaluation measured it."""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle.metadata import bundle_path, read_metadata, weights_sha256
from akd_monai.errors import InputError
from akd_monai.files import atomic_write

RESULTS = "docs/results.json"
_METRICS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "asd_mm": "ASD (mm)"}
_SECTION = re.compile(r"(?<=^## Performance\n).*?(?=^## )", re.MULTILINE | re.DOTALL)


def publish_results(bundle_dir: str | Path, rows_file: str | Path, *, data: str, trained_by: str | None = None) -> Path:
    """Write an evaluation's figures into a bundle: ``docs/results.json``, its README and its metadata.

    Args:
        bundle_dir: the bundle's folder, with the weights that were judged.
        rows_file: the table of cases that ``configs/evaluate.json`` wrote, ``per_case.csv``.
        data: what was judged on, in words: data, sites, part, and whether it is synthetic.
        trained_by: the command that trained the weights.

    Raises:
        InputError: when there is no row, the README has no section ``## Performance``, or ``data`` is empty.
    """
    if not str(data).strip():
        raise InputError('publish wants to know what was judged on, for instance --publish "I2CVB, fold 0 of 4".')
    readme = bundle_path(bundle_dir, "docs", "README.md")
    if not (readme.is_file() and _SECTION.search(readme.read_text(encoding="utf-8"))):
        raise InputError(f"{str(readme)!r} has no section '## Performance' to write to; add the heading.")
    with Path(rows_file).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    results = {
        "data": str(data),
        "trained_by": trained_by,
        "weights_sha256": weights_sha256(bundle_dir),
        "cases": len({row["case_id"] for row in rows}),
        "classes": _classes(rows, rows_file),
    }
    atomic_write(bundle_path(bundle_dir, RESULTS), json.dumps(results, indent=4) + "\n")
    metadata = bundle_path(bundle_dir, "configs", "metadata.json")
    atomic_write(readme, readme_with_results(readme.read_text(encoding="utf-8"), results))
    changed = metadata_with_results(read_metadata(bundle_dir), results)
    atomic_write(metadata, json.dumps(changed, indent=4) + "\n")
    return readme


def read_results(bundle_dir: str | Path) -> dict[str, Any] | None:
    """Return the published results of a bundle, or None."""
    path = Path(bundle_dir) / RESULTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def readme_with_results(text: str, results: Mapping[str, Any]) -> str:
    """Return a README whose section Performance shows ``results``."""
    lines = [f"Judged on: {results['data']}. Mean ± standard deviation over {results['cases']} cases.", ""]
    lines += ["| class | " + " | ".join(_METRICS.values()) + " |", "|---" * (len(_METRICS) + 1) + "|"]
    for name, metrics in results["classes"].items():
        lines.append(f"| {name} | " + " | ".join(_cell(metrics[key]) for key in _METRICS) + " |")
    lines += ["", f"Weights: `models/model.pt`, SHA-256 `{results['weights_sha256']}`."]
    if results["trained_by"]:
        lines += ["Trained by:", "", "```bash", str(results["trained_by"]), "```"]
    return _SECTION.sub(lambda _: "\n" + "\n".join(lines) + "\n\n", text)


def metadata_with_results(metadata: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with ``results`` in ``eval_metrics`` and the hash of the weights that reached them."""
    metrics = {f"{name}_{key}": values[key]["mean"] for name, values in results["classes"].items() for key in _METRICS}
    return {
        **metadata,
        "eval_metrics": {**metrics, "cases": results["cases"], "data": results["data"]},
        "weights_sha256": results["weights_sha256"],
    }


def _classes(rows: list[dict[str, str]], where: str | Path) -> dict[str, Any]:
    if not rows:
        raise InputError(f"{str(where)!r} has no cases; run configs/evaluate.json on a part that has some.")
    found: dict[str, Any] = {}
    for name in dict.fromkeys(row["class"] for row in rows):
        columns = {key: [_number(row[key]) for row in rows if row["class"] == name] for key in _METRICS}
        found[name] = {key: _summary(values) for key, values in columns.items()}
    return found


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _summary(values: list[float]) -> dict[str, Any]:
    # an undefined distance (an empty mask) is counted, never dropped in silence
    defined = [value for value in values if math.isfinite(value)]
    return {
        "mean": round(statistics.fmean(defined), 4) if defined else None,
        "sd": round(statistics.stdev(defined), 4) if len(defined) > 1 else None,
        "undefined": len(values) - len(defined),
    }


def _cell(summary: Mapping[str, Any]) -> str:
    if summary["mean"] is None:
        return "undefined in all cases"
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.3f}"
    missing = f", undefined in {summary['undefined']}" if summary["undefined"] else ""
    return f"{summary['mean']:.3f}{spread}{missing}"
