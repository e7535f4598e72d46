# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks: ``python -m benchmarks [NAME ...]``; ``--help`` lists what there is."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.affinity import PUBLIC_FILE
from benchmarks.common import Settings, UnequalError, machine_name
from benchmarks.measure import measure, measure_apart
from benchmarks.page import goals, page, section

NAMES = (
    *("affinity", "page_faults", "kernel", "scaling", "gram", "losses", "students", "step", "cache", "row_stores"),
    *("pipeline", "torchdistill", "matrix", "segment", "segment_masks"),
)
ROOT = Path(__file__).parent
PAGES = {"cpu": ROOT.parent / "docs" / "benchmarks.md", "cuda": ROOT.parent / "docs" / "benchmarks-gpu.md"}


def known_names() -> list[str]:
    """Return the benchmarks of this checkout, in the order of the page."""
    return [name for name in NAMES if importlib.util.find_spec(f"benchmarks.{name}") is not None]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time the package beside other ways.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known_names())}; all by default")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, one round; nothing is written")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5, help="the median counts")
    parser.add_argument("--public", type=Path, help="folder of a clone of github.com/CoinCheung/pytorch-loss")
    parser.add_argument("--compiled", action="store_true", help="also measure torch.compile; its start takes minutes")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the JSON files")
    parser.add_argument("--page", type=Path, help="page to write; that of the device below docs by default")
    found = parser.parse_args(argv)
    found.page = found.page or PAGES[found.device]
    for name in found.names:
        if name not in known_names():
            parser.error(f"there is no benchmark {name!r}; there is {', '.join(known_names())}.")
    if found.public and not (found.public / PUBLIC_FILE).is_file():
        parser.error(f"{found.public} holds no {PUBLIC_FILE}: give the folder of a clone of CoinCheung/pytorch-loss.")
    if found.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU here; use --device cpu.")
    if found.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {found.rounds}.")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for, show it, and write JSON and page unless the run is a quick one."""
    asked = arguments(argv)
    settings = Settings(asked.quick, asked.device, asked.rounds, asked.public, asked.compiled)
    names = asked.names or known_names()
    file = asked.results / f"{machine_name(asked.device)}.json"
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() and not asked.quick else {}
    for name in names:
        try:
            # the numbers of a quick run mean nothing, so that its memory may be that of the one before
            here = asked.quick or len(names) == 1
            stored[name] = (measure if here else measure_apart)(name, settings)
        except UnequalError as error:
            print(f"{name} is not timed, its results differ: {error}", file=sys.stderr)
            return 1
        print(section(stored[name]), end="\n\n", flush=True)
        if not asked.quick:
            _write(file, {known: stored[known] for known in NAMES if known in stored}, asked.page)
    if not asked.quick:
        print(goals(stored))
    return 0


def _write(file: Path, stored: dict[str, Any], target: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(stored), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
