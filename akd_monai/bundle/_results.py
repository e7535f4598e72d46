# SPDX-License-Identifier: Apache-2.0
"""Published results of a bundle, and how its README and metadata show them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.files import read_json
from akd_monai.tables import markdown_table

__all__ = ["METRICS", "RESULTS", "has_section", "metadata_with_results", "read_results", "readme_with_results"]

RESULTS = "docs/results.json"
METRICS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "asd_mm": "ASD (mm)"}

_SECTION = re.compile(r"(?<=^## Performance\n).*?(?=^## )", re.MULTILINE | re.DOTALL)


def read_results(bundle_dir: str | Path) -> dict[str, Any] | None:
    """Return the published results of a bundle, or None."""
    path = Path(bundle_dir) / RESULTS
    return read_json(path) if path.is_file() else None


def has_section(text: str) -> bool:
    """Return whether a README has a section Performance."""
    return _SECTION.search(text) is not None


def readme_with_results(text: str, results: Mapping[str, Any]) -> str:
    """Return a README whose section Performance shows ``results``."""
    lines = [f"Evaluated on: {results['data']}. Mean ± standard deviation over {results['cases']} cases.", ""]
    rows = []
    for name, metrics in results["classes"].items():
        rows.append([name, *(_cell(metrics[key]) for key in METRICS)])
    lines.append(markdown_table(["class", *METRICS.values()], rows))
    lines += ["", f"Weights: `models/model.pt`, SHA-256 `{results['weights_sha256']}`."]
    if results["trained_by"]:
        lines += ["Trained by:", "", "```bash", str(results["trained_by"]), "```"]
    section = "\n" + "\n".join(lines) + "\n\n"
    return _SECTION.sub(lambda _: section, text)


def metadata_with_results(metadata: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with ``results`` in ``eval_metrics`` and the hash of the weights that reached them."""
    metrics = {}
    for name, values in results["classes"].items():
        metrics.update({f"{name}_{key}": values[key]["mean"] for key in METRICS})
    return {
        **metadata,
        "eval_metrics": {**metrics, "cases": results["cases"], "data": results["data"]},
        "weights_sha256": results["weights_sha256"],
    }


def _cell(summary: Mapping[str, Any]) -> str:
    if summary["mean"] is None:
        return "undefined in all cases"
    spread = "" if summary["sd"] is None else f" ± {summary['sd']:.3f}"
    missing = f", undefined in {summary['undefined']}" if summary["undefined"] else ""
    return f"{summary['mean']:.3f}{spread}{missing}"
