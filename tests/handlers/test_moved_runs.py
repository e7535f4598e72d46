# SPDX-License-Identifier: Apache-2.0
"""Runs whose folder was moved or copied, the run that weights belong to, and how MLflow shows them."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from pathlib import Path

import monai.bundle.scripts
import pytest
from mlflow.tracking import MlflowClient
from test_tracking_password import SECRET, WITH_AT
from toy_run import build

from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.handlers import MLflowTracker, show_runs
from akd_monai.handlers._sqlite import follow_moved_files
from akd_monai.handlers._tracked_run import TrackedRun, read_tracked_run, run_of_weights, write_tracked_run

FILENAME = "mlflow_run.json"
PAGE = "runs?viewStateShareKey=akd_monai&workflowType=machine_learning"


@pytest.fixture
def trained(tmp_path, empty_store, monkeypatch):
    """Return the folder of a tracked training, with its database and a logged file."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "one" / "run"
    folder.mkdir(parents=True)
    shutil.copy(empty_store, folder / "mlruns.db")
    (folder / "config.json").write_text('{"a": 1}')
    tracker = MLflowTracker(folder, model_path=folder / "model.pt", artifacts=str(folder / "config.json"))
    build(folder, epochs=1, handlers=[tracker]).run()
    return folder


@pytest.mark.fault(
    "Tracking",
    "the folder of a tracked run is moved",
    injected="a rename of its folder, and a copy",
    outcome="`runs`, a further run or an evaluation lets the database find its files",
)
@pytest.mark.parametrize("move", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_files_of_a_moved_run_are_found_and_so_is_the_run_of_its_weights(trained, tmp_path, move):
    before = run_of_weights(trained / "model.pt")
    target = tmp_path / "elsewhere" / "deep" / "run"
    target.parent.mkdir(parents=True)
    move(trained, target)
    shown = (
        f"mlflow ui --backend-store-uri sqlite:///{target}/mlruns.db, then http://127.0.0.1:5000/#/experiments/1/{PAGE}"
    )
    assert show_runs(target) == [f"akd_monai, 1 run: {shown}"]
    shutil.rmtree(tmp_path / "one")
    tracked = run_of_weights(target / "model.pt")
    assert (tracked.run, tracked.tracking_uri) == (before.run, f"sqlite:///{target}/mlruns.db")
    client = MlflowClient(tracked.tracking_uri)
    experiment = client.get_experiment("1")
    (run,) = client.search_runs(["1"])
    assert run.data.tags["akd_monai.run"] == tracked.run
    # MLflow 3 opens an experiment as a table of trainings if it is told to
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags["mlflow.sharedViewState.akd_monai"])
    assert {"params.`role`", "metrics.`test_dice`"} <= set(view["selectedColumns"])
    path = client.download_artifacts(run.info.run_id, "config.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"a": 1}
    assert (run.data.metrics["best_epoch"], run.data.metrics["best_val_dice"]) == (
        1,
        run.data.metrics["val_mean_dice"],
    )
    assert show_runs(target / "mlruns.db") == [f"akd_monai, 1 run: {shown}"]


def test_addresses_of_files_that_lie_elsewhere_stay(tmp_path):
    database = tmp_path / "mlruns.db"
    (tmp_path / "mlruns").mkdir()
    other = tmp_path / "other" / "mlruns"
    other.mkdir(parents=True)
    known = [other.as_uri(), "s3://bucket/mlruns", f"{(tmp_path / 'gone' / 'mlruns').as_uri()}/7", None]
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE experiments (artifact_location TEXT)")
        connection.execute("CREATE TABLE runs (artifact_uri TEXT)")
        connection.executemany("INSERT INTO experiments VALUES (?)", [(address,) for address in known])
        connection.execute("INSERT INTO runs VALUES (?)", (f"{known[2]}/ab/artifacts",))
    assert follow_moved_files(database) == 2
    here = f"{(tmp_path / 'mlruns').as_uri()}/7"
    assert [row[0] for row in connection.execute("SELECT * FROM experiments")] == [*known[:2], here, None]
    assert [row[0] for row in connection.execute("SELECT * FROM runs")] == [f"{here}/ab/artifacts"]
    assert follow_moved_files(database) == 0


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "models" / "model.pt"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    write_tracked_run(file.parent, TrackedRun("run_1", "one", "mine", f"sqlite:///{tmp_path}/eval/mlruns.db"))
    best = {"run": "run_1", "file": "model.pt", "sha256": sha256_of(file)}
    file.with_name("best.json").write_text(json.dumps(best))
    return file


def test_weights_know_their_run(weights, tmp_path):
    assert json.loads(weights.with_name(FILENAME).read_text())["tracking_uri"] == "sqlite:///../eval/mlruns.db"
    assert run_of_weights(weights) == TrackedRun("run_1", "one", "mine", f"sqlite:///{tmp_path}/eval/mlruns.db")


def replace_weights(file):
    file.write_bytes(b"others")


def train_another(file):
    best = {"run": "run_2", "file": "model.pt", "sha256": sha256_of(file)}
    file.with_name("best.json").write_text(json.dumps(best))


def forget_best(file):
    file.with_name("best.json").unlink()


def damage(file):
    file.with_name(FILENAME).write_text('{"run": "run_1"}')


@pytest.mark.parametrize("change", [replace_weights, train_another, forget_best, damage])
def test_other_weights_have_no_run(weights, change):
    change(weights)
    assert run_of_weights(weights) is None


def test_a_record_names_neither_password_nor_home(tmp_path, monkeypatch):
    write_tracked_run(tmp_path, TrackedRun("run_1", "one", "mine", WITH_AT))
    assert read_tracked_run(tmp_path).tracking_uri == "http://127.0.0.1:9/mlflow"
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    for folder in (tmp_path / "data", tmp_path / "ada" / "runs"):
        folder.mkdir(parents=True)
        write_tracked_run(folder, TrackedRun("run_1", "one", "mine", f"sqlite:///{tmp_path}/ada/mlruns.db"))
        assert "ada" not in (folder / FILENAME).read_text()
        assert read_tracked_run(folder).tracking_uri == f"sqlite:///{tmp_path}/ada/mlruns.db"


def test_the_summary_of_monai_shows_no_password_where_this_package_is_imported(caplog):
    caplog.set_level(logging.INFO)
    monai.bundle.scripts._log_input_summary("run", {"tracking_uri": WITH_AT, "epochs": 5})
    assert "> tracking_uri: 'http://127.0.0.1:9/mlflow'" in caplog.text
    assert "> epochs: 5" in caplog.text
    assert SECRET not in caplog.text


def test_a_password_that_a_command_names_is_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    MLflowTracker(tmp_path, WITH_AT)
    assert "give it in the environment variable MLFLOW_TRACKING_URI" in caplog.text
    assert SECRET not in caplog.text
    caplog.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", WITH_AT)
    MLflowTracker(tmp_path, "http://127.0.0.1:9/mlflow")
    assert caplog.text == ""


def test_what_is_no_store_is_told(tmp_path):
    (tmp_path / "mlruns.db").write_text("no database")
    with pytest.raises(InputError, match=r"mlruns\.db: MLflow cannot be reached \(.*\); see that the server runs"):
        show_runs(tmp_path)
    with pytest.raises(InputError, match="tracking_uri must be of SQLite or a server"):
        show_runs("file:///runs")
