# SPDX-License-Identifier: Apache-2.0
"""No byte of a target is opened before it may be: the real cells of both protocols on a small synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audited_cells import opened_below, run_cell

from akd_monai.experiments import experiment_cells, experiment_table
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.prostate import make_phantom

SITES = ["RUNMC", "BMC", "HK"]
SMALL = {
    "sites": SITES,
    "targets": ["HK"],
    "teachers": {"tiny": {"bundle": "unetplusplus", "settings": {"network_def#features": [4, 4, 8, 8, 8]}}},
    "students": ["enet"],
    "settings": {"epochs": 1, "samples_per_epoch": 8, "batch_size": 4, "spatial_size": [32, 32]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("six") / "phantom"
    return make_phantom(folder, cases_per_site=4, sites=SITES, size=32, slices=4, seed=0, progress=False)


@pytest.fixture
def target(data):
    """Return the folder of the target, whose images and masks are no images until the test restores them."""
    files = {path: path.read_bytes() for path in (data / "HK").iterdir()}
    for path in files:
        path.write_bytes(b"poison")

    def restore() -> None:
        for path, content in files.items():
            path.write_bytes(content)

    yield data / "HK", restore
    restore()


def planned(tmp_path, data, **changes):
    """Return the cells of an experiment by name, as the driver plans them, with their bundles written."""
    file = tmp_path / "small.json"
    file.write_text(json.dumps({**SMALL, "dataset_dir": str(data), **changes}))
    experiment_cells(file)
    experiment_table(file)
    return {cell.name: cell for cell in expand(read_matrix(file), tmp_path / "small")}


def record(cell):
    name = "evaluation.json" if cell.kind == "test" else "training.json"
    return json.loads(Path(cell.folder, "eval", name).read_text())


def ids(site):
    return {f"{site}/Case{number:02}" for number in range(4)}


def is_from(case_ids, *sites):
    return {case_id.split("/")[0] for case_id in case_ids} == set(sites)


@pytest.mark.fault(
    "Experiments",
    "training opens a case of the site that is left out",
    injected="its images and masks are garbage until the first test, every file that is opened is on record",
    outcome="teacher, student and distilled student are trained without one of them",
)
def test_loso_opens_no_byte_of_the_target_before_the_first_test(tmp_path, data, target, monkeypatch):
    folder, restore = target
    with opened_below(folder) as opened:
        cells = planned(tmp_path, data, protocol="loso")
        for cell in cells.values():
            if cell.kind != "test":
                run_cell(cell, monkeypatch)
    assert opened == []
    trained = {cell.row.method: record(cell) for cell in cells.values() if cell.kind != "test"}
    assert set(trained) == {"sources", "without", "distilled"}
    for facts in trained.values():
        assert is_from(facts["case_ids"], "RUNMC", "BMC")
        assert is_from(facts["validation_case_ids"], "RUNMC", "BMC")
        # of two sites with four cases, one each chooses the weights
        assert (len(facts["case_ids"]), len(facts["validation_case_ids"])) == (6, 2)
        assert facts["cases"] == trained["sources"]["cases"]
    assert trained["distilled"]["teacher_sha256"] == trained["sources"]["weights_sha256"]
    assert trained["distilled"]["lambdas"] == {"logits": 0.2, "gram": 0.9, "affinity": 0.9}
    assert (trained["without"]["teacher_sha256"], trained["without"]["lambdas"]) == (None, None)
    tests = [cell for cell in cells.values() if cell.kind == "test"]
    # the poison and the record are real
    with opened_below(folder) as opened, pytest.raises(RuntimeError, match="validate::evaluator"):
        run_cell(tests[0], monkeypatch)
    assert opened
    restore()
    for cell in tests:
        run_cell(cell, monkeypatch)
        facts = record(cell)
        assert set(facts["case_ids"]) == ids("HK")
        method = "sources" if cell.row.method == "teacher_zero_shot" else cell.row.method
        assert facts["weights_sha256"] == trained[method]["weights_sha256"]


def test_cross_site_opens_no_byte_of_the_target_for_what_learns_at_the_sources(tmp_path, data, target, monkeypatch):
    folder, restore = target
    with opened_below(folder) as opened:
        cells = planned(tmp_path, data, folds=2, run_folds=[1], controls=["teacher_own_sites", "pretrained"])
        for cell in cells.values():
            if cell.row.method in ("sources", "teacher_own_sites"):
                run_cell(cell, monkeypatch)
                assert is_from(record(cell)["case_ids"], "RUNMC", "BMC")
    assert opened == []
    restore()
    tuned = cells["train/HK/fold-1/student-enet/pretrained/seed-0"]
    with opened_below(folder.parent) as opened:
        run_cell(tuned, monkeypatch)
    # and what learns at the target opens nothing of its test cases, nor of the sources
    facts = record(tuned)
    started = record(cells["train/HK/student-enet/sources/seed-0"])
    assert facts["initial_weights_sha256"] == started["weights_sha256"]
    learned = {*facts["case_ids"], *facts["validation_case_ids"]}
    volumes = [Path(path) for path in opened if path.endswith(".nii.gz")]
    assert {f"{path.parent.name}/{path.name[:6]}" for path in volumes} == learned
    tested = cells["test/HK/fold-1/student-enet/pretrained/seed-0"]
    run_cell(tested, monkeypatch)
    assert set(record(tested)["case_ids"]) == ids("HK") - learned
