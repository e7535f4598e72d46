# SPDX-License-Identifier: Apache-2.0
"""Try every segmentation bundle of the Model Zoo as teacher and as student, and write the table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai.files import atomic_write
from benchmarks.model_zoo.bundles import BUNDLES
from benchmarks.model_zoo.cells import CELLS, Workplace, run_cell
from benchmarks.model_zoo.page import zoo_page

__all__ = ["main"]

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "model-zoo.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Try what has no result yet, or what is named, and write the page."""
    asked = _arguments(argv)
    work = asked.work_dir.resolve()
    for name in asked.bundles:
        for cell in asked.cells:
            path = _result(work, name, cell)
            if path.is_file() and not asked.again:
                continue
            place = Workplace(name, (asked.zoo_dir / "models").resolve(), work / name, asked.timeout)
            found = run_cell(place, cell)
            atomic_write(path, json.dumps(found, indent=2))
            print(f"{name} {cell} ({found['seconds']} s): {found['outcome']}", flush=True)
    command = "python -m benchmarks.model_zoo --zoo_dir model-zoo"
    atomic_write(asked.output_file, zoo_page(_results(work), command, asked.commit or _commit(asked.zoo_dir)))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_zoo", description=__doc__)
    parser.add_argument("--zoo_dir", type=Path, required=True, help="a checkout of the Model Zoo, which is only read")
    parser.add_argument("--bundles", nargs="+", choices=list(BUNDLES), default=list(BUNDLES), metavar="NAME")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--again", action="store_true", help="also what has a result already")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each cell")
    parser.add_argument("--work_dir", type=Path, default=Path(tempfile.gettempdir(), "akd_monai_model_zoo"))
    parser.add_argument("--commit", help="of the checkout, where it is no git repository")
    parser.add_argument("--output_file", type=Path, default=PAGE)
    return parser.parse_args(argv)


def _result(work: Path, name: str, cell: str) -> Path:
    return work / "results" / f"{name}.{cell}.json"


def _results(work: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in BUNDLES:
        paths = {cell: _result(work, name, cell) for cell in CELLS}
        found[name] = {cell: json.loads(path.read_text()) for cell, path in paths.items() if path.is_file()}
    return found


def _commit(folder: Path) -> str:
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
