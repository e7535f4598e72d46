# SPDX-License-Identifier: Apache-2.0
"""Cells of an experiment in MLflow: nested in one run, found again, and no part of what a cell is."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from audited_cells import run_cell
from mlflow.tracking import MlflowClient
from monai.bundle import ConfigParser

from akd_monai.errors import InputError
from akd_monai.experiments import experiment_cells
from akd_monai.experiments._child import cell_variables
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._tracking import ExperimentRun, tracked
from akd_monai.files import sha256_of
from akd_monai.handlers._mlflow_run import URI_VARIABLE
from akd_monai.prostate import make_phantom

PLAIN = "train/HK/fold-0/student-enet/without/seed-0"


@pytest.fixture
def cells(tmp_path):
    """Return the plain student of a small experiment, its training and its test."""
    data = make_phantom(
        tmp_path / "d", cases_per_site=4, sites=["BMC", "HK"], size=32, slices=4, seed=0, progress=False
    )
    content = {
        "dataset_dir": str(data),
        "sites": ["BMC", "HK"],
        "targets": ["HK"],
        "folds": 2,
        "run_folds": [0],
        "teachers": ["erfnet"],
        "students": ["enet"],
        "controls": [],
        "methods": {},
        "settings": {"epochs": 1, "samples_per_epoch": 8, "batch_size": 4, "spatial_size": [32, 32]},
    }
    file = tmp_path / "2024.json"
    file.write_text(json.dumps(content))
    experiment_cells(file)
    planned = expand(read_matrix(file), tmp_path / "2024")
    return [cell for cell in planned if cell.row.role == "student"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlruns.db'}"


def runs(store):
    client = MlflowClient(store)
    (experiment,) = client.search_experiments(filter_string="name = '2024'")
    found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return {run.info.run_name: run for run in found}


def tracking(tmp_path, uri):
    (tmp_path / "2024").mkdir(exist_ok=True)
    return ExperimentRun(tmp_path / "2024", "2024", uri, "cross_site")


def test_cells_are_nested_in_one_run_and_found_again(tmp_path, store, cells, monkeypatch):
    # relative to the folder of the user, not to that of a cell
    experiment = tracking(tmp_path, "sqlite:///mlruns.db")
    experiment.open()
    for cell in experiment.tracked(cells):
        run_cell(cell, monkeypatch)
    experiment.close("FAILED")
    found = runs(store)
    parent = found.pop("2024")
    assert parent.info.status == "FAILED"
    assert set(found) == {cell.name for cell in cells}
    trained, tested = (found[cell.name] for cell in cells)
    assert {run.data.tags["mlflow.parentRunId"] for run in (trained, tested)} == {parent.info.run_id}
    wanted = {"target": "HK", "fold": "0", "seed": "0", "role": "student", "network": "enet", "method": "without"}
    assert {name: trained.data.tags.get(name) for name in (*wanted, "teacher")} == {**wanted, "teacher": None}
    weights = Path(cells[0].folder, "models", "model.pt")
    assert trained.data.tags["checkpoint_sha256"] == sha256_of(weights)
    assert {"dice_mean", "undefined_dice"} <= set(tested.data.metrics)
    known = {"role": "alone", "protocol": "cross_site", "method": "without", "target": "HK", "network": "ENet"}
    assert {name: trained.data.params.get(name) for name in known} == known
    # the test stands in the row of the training, too
    assert trained.data.metrics["test_dice"] == tested.data.metrics["dice_mean"]
    assert trained.data.metrics["test_dice_HK"] == tested.data.metrics["dice_mean"]
    assert trained.data.metrics["best_val_dice"] == trained.data.metrics["val_mean_dice"]
    files = {file.path for file in MlflowClient(store).list_artifacts(trained.info.run_id, "test")}
    assert {"test/per_case.csv", "test/worst.png"} <= files
    # the same command again: the same parent, and no second run of a finished cell
    again = tracking(tmp_path, store)
    again.open()
    run_cell(again.tracked(cells)[0], monkeypatch)
    again.close("FINISHED")
    assert {name: run.info.run_id for name, run in runs(store).items()} == {
        "2024": parent.info.run_id,
        **{name: run.info.run_id for name, run in found.items()},
    }
    assert runs(store)["2024"].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"), [(SystemExit, "FAILED"), (KeyboardInterrupt, "KILLED"), (None, "FINISHED")]
)
def test_the_run_of_the_experiment_ends_as_the_experiment_does(tmp_path, store, cells, error, status):
    (tmp_path / "2024").mkdir(exist_ok=True)
    outcome = contextlib.nullcontext() if error is None else pytest.raises(error)
    with outcome, tracked(cells, tmp_path / "2024", "2024", store) as running:
        assert [cell.name for cell in running] == [cell.name for cell in cells]
        assert runs(store)["2024"].info.status == "RUNNING"
        if error is not None:
            raise error
    assert runs(store)["2024"].info.status == status


def test_without_a_place_nothing_is_tracked(tmp_path, cells):
    with tracked(cells, tmp_path, "2024", None) as running:
        assert running is cells


def test_a_cell_that_began_without_the_parent_is_nested_at_the_end(tmp_path, store, cells, monkeypatch):
    experiment = tracking(tmp_path, store)
    run_cell(experiment.tracked(cells)[0], monkeypatch)
    assert "mlflow.parentRunId" not in runs(store)[PLAIN].data.tags
    experiment.close("FINISHED")
    assert runs(store)[PLAIN].data.tags["mlflow.parentRunId"] == runs(store)["2024"].info.run_id


def test_where_a_cell_is_tracked_is_no_part_of_what_it_is(tmp_path, cells):
    followed = tracking(tmp_path, "http://127.0.0.1:9").tracked(cells)
    assert [cell.identity() for cell in followed] == [cell.identity() for cell in cells]
    assert all("--tracking_uri=http://127.0.0.1:9" in cell.command for cell in followed)
    other = replace(followed[0], command=(*followed[0].command, "--epochs=9"))
    assert other.identity() != cells[0].identity()


@pytest.mark.fault(
    "Experiments",
    "MLflow cannot be reached when an experiment is started",
    injected="a port at which nothing answers",
    outcome="one warning without the password, the cells are run all the same",
)
def test_a_server_that_is_away_stops_nothing(tmp_path, cells, caplog, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(URI_VARIABLE, "")
    uri = "http://ada:secret@127.0.0.1:9"
    experiment = tracking(tmp_path, uri)
    experiment.open()
    assert "MLflow cannot be reached" in caplog.text
    assert "secret" not in caplog.text
    first, second = experiment.tracked(cells)
    assert "secret" not in " ".join([*first.command, *second.command])
    # the cell takes it from a variable that it inherits
    (written,) = [argument for argument in first.command if argument.startswith("--tracking_uri=")]
    assert ConfigParser({"a": written.removeprefix("--tracking_uri=")}).get_parsed_content("a") == uri


def test_a_cell_inherits_who_one_is_and_no_other_setting_of_mlflow(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_RUN_ID", "of another run")
    found = {name: value for name, value in cell_variables({}).items() if name.startswith("MLFLOW_")}
    assert found == {"MLFLOW_TRACKING_USERNAME": "ada"}


def test_a_file_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="tracking_uri must be of SQLite or a server"):
        tracking(tmp_path, "file:///mlruns")
