# SPDX-License-Identifier: Apache-2.0
"""Labels that a row must not have are garbage until its tests: the real cells of a few methods on a small synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audited_cells import run_cell

from akd_monai.data import datalist
from akd_monai.experiments import experiment_cells
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.prostate import make_phantom

SITES = ["RUNMC", "BMC", "HK"]
FILE = {
    "sites": SITES,
    "targets": ["HK"],
    "run_folds": [0],
    "teachers": {"tiny": {"bundle": "unetplusplus", "settings": {"network_def#features": [4, 4, 8, 8, 8]}}},
    "students": {"enet": {"adapt": {"learning_rate": 0.003}}},
    "settings": {"epochs": 1, "samples_per_epoch": 8, "batch_size": 4, "spatial_size": [32, 32]},
    "labelled_cases": [2],
    "methods": {
        "unlabelled": {"recipe": "unlabelled", "initial": "sources", "teacher": "adapted"},
        "many": {"teacher": "several"},
    },
    "controls": ["pretrained"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "phantom"
    return make_phantom(folder, cases_per_site=8, sites=SITES, size=32, slices=4, seed=0, progress=False)


def record(cell):
    name = "evaluation.json" if cell.kind == "test" else "training.json"
    return json.loads(Path(cell.folder, "eval", name).read_text())


@pytest.mark.fault(
    "Experiments",
    "a row learns from labels that it must not have",
    injected="the masks of the target's test cases and of its cases without labels are garbage until the tests",
    outcome="pre-trained, adapted and distilled networks are trained without one of them, on the cases that were named",
)
def test_no_label_beyond_the_number_is_opened(tmp_path, data, monkeypatch):
    file = tmp_path / "few.json"
    file.write_text(json.dumps({**FILE, "dataset_dir": str(data)}))
    experiment_cells(file)
    cells = {cell.name.removesuffix("/seed-0"): cell for cell in expand(read_matrix(file), tmp_path / "few")}
    split = {"sites": ["HK"], "seed": 0, "fold": 0, "folds": 4}
    few = {case["case_id"] for case in datalist(data, "training", labelled_cases=2, **split)}
    every = {case["case_id"] for case in datalist(data, "training", **split)}
    tested = {case["case_id"] for case in datalist(data, "test", **split)}
    masks = {data / f"{name}_segmentation.nii.gz" for name in (every - few) | tested}
    before = {path: path.read_bytes() for path in masks}
    for path in masks:
        path.write_bytes(b"poison")
    for name, cell in cells.items():
        if cell.kind != "test" and "without" not in name:
            run_cell(cell, monkeypatch)
    place = "train/HK/fold-0/labelled-2"
    student = record(cells[f"{place}/student-enet/unlabelled/tiny"])
    teacher = record(cells[f"{place}/teacher-tiny/teacher_adapted"])
    for facts in (student, teacher, record(cells[f"{place}/student-enet/pretrained"])):
        assert set(facts["case_ids"]) == few
        assert facts["labelled_cases"] == 2
    assert set(student["unlabelled_case_ids"]) == every - few
    assert student["teacher_sha256"] == teacher["weights_sha256"]
    assert student["initial_weights_sha256"] == record(cells["train/HK/student-enet/sources"])["weights_sha256"]
    assert teacher["initial_weights_sha256"] == record(cells["train/HK/teacher-tiny/sources"])["weights_sha256"]
    assert student["learning_rate"] == 0.003
    alone = [record(cells[f"train/{site}/teacher-tiny/alone"])["weights_sha256"] for site in ("RUNMC", "BMC")]
    assert record(cells[f"{place}/student-enet/many/tiny"])["teacher_sha256"] == {"1": alone[0], "2": alone[1]}
    for path, content in before.items():
        path.write_bytes(content)
    test = cells["test/HK/fold-0/labelled-2/student-enet/unlabelled/tiny"]
    run_cell(test, monkeypatch)
    assert set(record(test)["case_ids"]) == tested
    assert record(test)["weights_sha256"] == student["weights_sha256"]
