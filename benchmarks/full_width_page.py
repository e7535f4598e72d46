# SPDX-License-Identifier: Apache-2.0
"""The page on full width, from what ``benchmarks.full_width`` wrote.

python -m benchmarks.full_width_page full_width.json docs/results/full-width.md table2 table4
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.files import atomic_write
from akd_monai.tables import markdown_table
from benchmarks.common import short
from benchmarks.hours import hours_table

HEAD = """# Full width on a GPU

What training and evaluation of the paper's networks cost at {size} x {size} in batches of {batch}, by the bundles as they
are, on **synthetic** slices and volumes. Weights are random; nothing here says how well a network segments.

{machine}

Written by `python -m benchmarks.full_width --dataset_dir phantom --device {device}` and
`python -m benchmarks.full_width_page`.
"""
STEPS = """## Steps

One iteration of the trainer (forward, losses, backward, Adam), by automatic mixed precision on CUDA and with deterministic
algorithms; distilled with the three terms, the teacher run on every batch (online) or read from a filled cache (cached).
Median of the steps with their range, each timed around synchronised calls; memory is the most that PyTorch held.
"""
VOLUMES = """## Volumes

Evaluation after an epoch has its volumes in memory and computes Dice; a test reads and prepares each volume, predicts,
writes the mask and computes all metrics. Cases: {cases}.
"""
FEEDING = """## Feeding

Milliseconds from batch to batch of the training's data set, without a training that uses them, by the number of processes; 0
is the training's own. Preparing a volume, once a run, took {prepared} s.
"""
HOURS = """## Hours of the experiments

From these numbers, the epochs and batches of each cell, the cases of the real set and slices as in synthetic scans: at the
paper's schedule, teachers run on every batch. "Fed beside" takes the processes that feed a training to keep up with it.
Starts of processes and preparing volumes are not in it.
"""
_GIB = 2**30


def page(measured: Mapping[str, Any], experiments: Sequence[str]) -> str:
    """Return the page as Markdown."""
    facts = {key: measured[key] for key in ("size", "batch", "device")}
    machine = ", ".join(f"{key} {value}" for key, value in measured["machine"].items())
    parts = [HEAD.format(**facts, machine=f"Measured on: {machine}."), STEPS, _steps(measured["steps"]), ""]
    evaluation = {name: one for name, one in measured["evaluation"].items() if "test" in one}
    if evaluation:
        cases = dict.fromkeys(case for one in evaluation.values() for case in one["cases"])
        parts += [VOLUMES.format(cases=", ".join(cases)), _volumes(evaluation), ""]
    feeding = {workers: one for workers, one in measured["feeding"].items() if "batch_ms" in one}
    if feeding:
        prepared = short(min(one["volume_seconds"] for one in feeding.values()))
        rows = [[workers, short(one["batch_ms"])] for workers, one in feeding.items()]
        parts += [FEEDING.format(prepared=prepared), markdown_table(["processes", "ms a batch"], rows), ""]
    if experiments:
        parts += [HOURS, hours_table(experiments, measured), ""]
    return "\n".join([*parts, *_missing(measured)])


def _steps(steps: Mapping[str, Any]) -> str:
    rows = []
    for name, one in steps.items():
        if "ms" in one:
            peak = "" if one["peak_bytes"] is None else f"{one['peak_bytes'] / _GIB:.2f}"
            spread = f"{short(one['low'])} to {short(one['high'])}"
            rows.append([name, short(one["ms"]), spread, str(one["steps"]), peak])
    return markdown_table(["step", "ms", "range", "steps", "GiB"], rows)


def _volumes(evaluation: Mapping[str, Any]) -> str:
    rows = [[name, short(one["validation"]), short(one["test"])] for name, one in evaluation.items()]
    return markdown_table(["network", "after an epoch, s a volume", "test, s a volume"], rows)


def _missing(measured: Mapping[str, Any]) -> list[str]:
    """Return what was not measured, and why."""
    failed = []
    for group in ("steps", "evaluation", "feeding"):
        failed += [f"- {group}, {name}: {one['error']}" for name, one in measured[group].items() if "error" in one]
    late = [f"- {name}: the time was over" for name in measured.get("not_measured", ())]
    return ["Not measured:", "", *failed, *late, ""] if failed or late else []


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_width_page", description="Write the page.")
    parser.add_argument("measured", type=Path, help="what benchmarks.full_width wrote")
    parser.add_argument("page", type=Path)
    parser.add_argument("experiments", nargs="*", help="files, or names of experiments of the package")
    asked = parser.parse_args(argv)
    atomic_write(asked.page, page(json.loads(asked.measured.read_text(encoding="utf-8")), asked.experiments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
