# SPDX-License-Identifier: Apache-2.0
"""Train two 3D teachers on synthetic shapes and a light student of each, alone and distilled; write what they reach."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from akd_monai.bundle import build_network, distill_bundle, new_bundle
from benchmarks.transfers.bundles import TASKS, write_teacher
from benchmarks.transfers.page import ALONE, Result, results_page
from benchmarks.transfers.score import dice_of
from benchmarks.transfers.shapes import write_site

PAGE = Path(__file__).parents[2] / "docs" / "results" / "transfers.md"
CASES = {"teacher": 18, "student": 6, "test": 12}
SITES = {"teacher": 0, "student": 1, "test": 1}
STUDENT = {"channels": [8, 16, 32], "strides": [2, 2], "num_res_units": 1, "norm": "batch"}
DISTILLED = {"student distilled, logits and affinity": None, "student distilled, logits": "logits"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run both transfers and write the page."""
    asked = _arguments(argv)
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        results = [result for task in asked.tasks for result in _transfer(Path(folder) / task, task, asked)]
    command = " ".join(["python -m benchmarks.transfers", *(argv if argv is not None else sys.argv[1:])])
    page = results_page(results, command, (time.process_time() - start) / 60)
    asked.output_file.parent.mkdir(parents=True, exist_ok=True)
    asked.output_file.write_text(page, encoding="utf-8")
    print(page)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfers", description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--teacher_epochs", type=int, default=40)
    parser.add_argument("--student_epochs", type=int, default=120, help="more, as the student's site has fewer cases")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the students")
    parser.add_argument("--output_file", type=Path, default=PAGE)
    return parser.parse_args(argv)


def _transfer(folder: Path, task: str, asked: argparse.Namespace) -> list[Result]:
    for number, (part, cases) in enumerate(CASES.items()):
        write_site(folder / part, task, cases, site=SITES[part], seed=10 + number)
    teacher = write_teacher(folder / "bundles" / "teacher", task, asked.teacher_epochs)
    _train(teacher, _settings(teacher, folder / "teacher", 0))
    results = [_result(teacher, folder / "test", task, "teacher, trained at the other site", None)]

    def settings(bundle: Path, seed: int) -> dict[str, Any]:
        return {**_settings(bundle, folder / "student", seed), "epochs": asked.student_epochs}

    student = new_bundle("student", "UNet", like=teacher, network_args=STUDENT, bundles_dir=folder / "bundles")
    for seed in asked.seeds:
        alone = _copy(student, f"alone-{seed}")
        _train(alone, settings(alone, seed))
        results.append(_result(alone, folder / "test", task, ALONE, seed))
        for row, terms in DISTILLED.items():
            distilled = _copy(student, f"distilled-{terms}-{seed}")
            distill_bundle(teacher, distilled, terms=terms, **settings(distilled, seed))
            results.append(_result(distilled, folder / "test", task, row, seed))
    return results


def _copy(bundle: Path, name: str) -> Path:
    return Path(shutil.copytree(bundle, bundle.with_name(name)))


def _train(bundle: Path, settings: dict[str, Any]) -> None:
    train = str(bundle / "configs/train.json")
    workflow = ConfigWorkflow(train, workflow_type="train", logging_file=False, **settings)
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def _settings(bundle: Path, data: Path, seed: int) -> dict[str, Any]:
    return {"bundle_root": str(bundle), "dataset_dir": str(data), "seed": seed}


def _result(bundle: Path, data: Path, task: str, row: str, seed: int | None) -> Result:
    parameters = sum(parameter.numel() for parameter in build_network(bundle).parameters())
    return Result(task, row, seed, dice_of(bundle, data, task), parameters)


if __name__ == "__main__":
    sys.exit(main())
