# SPDX-License-Identifier: Apache-2.0
"""A made-up, complete experiment: every record of every cell is there, no network was trained, figures are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from akd_monai.experiments._plan.cell import Cell, Row
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix

MATRIX = {
    "name": "made-up",
    "protocol": "cross_site",
    "sites": ["RUNMC", "BMC", "HK"],
    "targets": ["BMC", "HK"],
    "folds": 2,
    "run_folds": [0],
    "seeds": [0, 1],
    "teachers": ["unetplusplus"],
    "students": ["enet"],
    "methods": {"distilled": {}, "logits": {"terms": ["logits"]}},
    "controls": ["teacher_zero_shot", "teacher_own_sites", "pretrained"],
    "settings": {"epochs": 3},
}
CASES = 8

Dice = Callable[[Row, int], float]


def level(row: Row, case: int) -> float:
    """Return a Dice that depends on the method, the case, and a little on the seed."""
    by_method = {"without": 0.60, "distilled": 0.65, "logits": 0.58, "pretrained": 0.70}
    return by_method.get(row.method, 0.5) + 0.01 * case + 0.004 * row.seed


def digest(*words: object) -> str:
    return hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()


def make_study(folder: Path, dice: Dice = level, *, cases: int = CASES, synthetic: bool = True, **changes) -> Path:
    """Write an experiment to ``folder / "out"`` and return it; ``changes`` go into its file."""
    content = {**MATRIX, "dataset_dir": str(folder / "data"), **changes}
    make_data(folder / "data", content["sites"], total(cases), synthetic=synthetic)
    out = folder / "out"
    put_json(out / "experiment.json", content)
    matrix = read_matrix(out / "experiment.json")
    for cell in expand(matrix, out):
        write_cell(cell, matrix, dice, cases)
    return out


def total(cases: int) -> int:
    """Return how many cases a site has: those that are tested, at least one to learn from, and two for validation."""
    return max(2 * cases, cases + 3)


def put_json(path: str | Path, content: object) -> None:
    """Write JSON without waiting for the disk, which takes longer than all the rest of a made-up experiment."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def make_data(folder: Path, sites, count: int, *, synthetic: bool) -> None:
    for site in sites:
        for number in range(count):
            for suffix in ("", "_segmentation"):
                path = folder / site / f"Case{number:02}{suffix}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    extra = {"synthetic": True} if synthetic else {}
    put_json(folder / "manifest.json", {"format": "akd_monai.prepared", "version": 1, **extra, "cases": []})


def write_cell(cell: Cell, matrix, dice: Dice, cases: int) -> None:
    put_json(cell.record, cell.identity())
    usage = {"seconds": 10.0, "cpu_seconds": 9.0, "peak_memory_bytes": 5e8, "disk_bytes": 2e6, "starts": 1}
    put_json(cell.result, {"cell": cell.name, **usage})
    sources = [site for site in matrix.sites if site != cell.row.target]
    if cell.kind == "test":
        write_evaluation(cell, sources, dice, cases)
    else:
        write_training(cell, sources, cases, matrix.protocol)


def case_ids(sites, numbers) -> list[str]:
    return [f"{site}/Case{number:02}" for site in sites for number in numbers]


def common(row: Row) -> dict:
    return {"seed": row.seed, "split_seed": 0, "fold": row.fold, "folds": 2, "spatial_size": [384, 384],
            "device": "cpu", "version": "0.1", "machine": {"cpu": "made up", "torch": "2.13"}}  # fmt: skip


def write_training(cell: Cell, sources, cases: int, protocol: str) -> None:
    row = cell.row
    is_elsewhere = row.method == "sources" or protocol == "loso"
    sites = sources if is_elsewhere else [row.target]
    # test cases are the first ones, validation cases the last two
    learned = case_ids(sites, range(cases, total(cases) - 2))[: row.labelled]
    validation = case_ids(sites, range(total(cases) - 2, total(cases)))
    is_distilled = row.teacher is not None
    needed = [name.removeprefix("train/") for name in cell.needs]
    teachers = [name for name in needed if is_distilled and "/teacher-" in name]
    starts = [digest("weights", name) for name in needed if name not in teachers]
    hashes = [digest("weights", name) for name in teachers] or [None]
    record = {
        **common(row), "cases": digest(learned), "case_ids": learned, "sites": list(sites),
        "validation_cases": digest(validation), "validation_case_ids": validation, "epochs": 3, "iterations": 30,
        "batch_size": 16, "learning_rate": 0.01, "schedule": "cyclic_peak_first", "best_epoch": 2, "best_metric": 0.7,
        "network_parameters": 353545, "initial_weights_sha256": starts[0] if starts else None,
        "teacher_sha256": hashes[0] if len(hashes) == 1 else {str(n): value for n, value in enumerate(hashes, 1)},
        "generalisation": json.loads(cell.settings).get("generalisation", {}).get("name"),
        "lambdas": {"logits": 0.2} if is_distilled else None, "weights_sha256": digest("weights", row.name()),
    }  # fmt: skip
    output = Path(cell.folder) / "eval"
    put_json(output / "training.json", record)
    terms = ["task", "logits"] if is_distilled else ["task"]
    lines = []
    for epoch in (1, 2, 3):
        losses = {f"loss/{term}": 0.6 / epoch for term in terms}
        lines.append({"epoch": epoch, **losses, "loss/total": sum(losses.values()), "val_mean_dice": 1 - 0.5 / epoch})
    (output / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_evaluation(cell: Cell, sources, dice: Dice, cases: int) -> None:
    row = cell.row
    is_own = row.method == "teacher_own_sites"
    tested = (
        case_ids(sources, range(total(cases) - 2, total(cases))) if is_own else case_ids([row.target], range(cases))
    )
    trained = cell.needs[0].removeprefix("train/")
    output = Path(cell.folder) / "eval"
    put_json(
        output / "evaluation.json",
        {**common(row), "cases": digest(tested), "case_ids": tested, "sites": sources if is_own else [row.target],
         "part": "validation" if is_own else "test", "weights_sha256": digest("weights", trained)},
    )  # fmt: skip
    rows = []
    for place, name in enumerate(tested):
        value = dice(row, place)
        rows.append({"case_id": name, "site": name.split("/")[0], "class": "prostate", "dice": value,
                     "hd95_mm": 10 - 8 * value, "asd_mm": 3 - 2 * value, "reference_ml": 40.0, "predicted_ml": 39.0,
                     "ece": 0.1 * (1 - value)})  # fmt: skip
    pd.DataFrame(rows).to_csv(output / "per_case.csv", index=False, na_rep="nan")
