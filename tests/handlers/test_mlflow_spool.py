# SPDX-License-Identifier: Apache-2.0
"""Nothing that was to be tracked is lost, waited for, or sent to the run of another training."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ignite.engine import Events
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from test_mlflow_tracker import SPOOL_FILENAME, runs_of, tracked
from toy_run import build

from akd_monai.errors import InputError
from akd_monai.files import FolderLock
from akd_monai.handlers import MLflowTracker, send_spooled, unique_run_name
from akd_monai.handlers._spool import Spool
from akd_monai.handlers._sqlite import _BUSY_SECONDS, prepare_database

TAG = "akd_monai.run"


def down(*args, **kwargs):
    raise ConnectionError("server gone")


def steps(store, run, name="loss/task"):
    return [point.step for point in MlflowClient(store).get_metric_history(run.info.run_id, name)]


def untracked(folder, store, monkeypatch, **options):
    """Train while MLflow takes nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", down)
        patch.setattr(MlflowClient, "search_runs", down)
        return tracked(folder, store, **options)


def test_one_call_sends_a_finished_run(tmp_path, store, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    options = {
        "artifacts": [str(tmp_path / "config.json")],
        "model_path": tmp_path / "model.pt",
        "tags": {"site": "BMC"},
    }
    untracked(tmp_path, store, monkeypatch, epochs=2, tracker=options)
    assert runs_of(store) == []
    assert send_spooled(tmp_path) == 4
    (run,) = runs_of(store)
    assert (run.info.status, run.info.run_name) == ("FINISHED", unique_run_name(tmp_path))
    assert run.data.tags[TAG] == unique_run_name(tmp_path)
    assert run.data.tags["site"] == "BMC"
    assert len(run.data.tags["checkpoint_sha256"]) == 64
    assert steps(store, run) == steps(store, run, "val_mean_dice") == [1, 2]
    assert [file.path for file in MlflowClient(store).list_artifacts(run.info.run_id)] == ["config.json"]
    assert not (tmp_path / SPOOL_FILENAME).exists()
    assert send_spooled(tmp_path) == 0


@pytest.mark.fault(
    "Tracking",
    "the server fails again while kept entries are sent",
    injected="every call raises",
    outcome="the file is unchanged, the next call sends all",
)
def test_what_cannot_be_sent_stays(tmp_path, store, monkeypatch):
    untracked(tmp_path, store, monkeypatch, epochs=2)
    before = (tmp_path / SPOOL_FILENAME).read_text()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", down)
        with pytest.raises(InputError, match=r"does not take the entries \(server gone\); nothing is lost: try again"):
            send_spooled(tmp_path)
    assert (tmp_path / SPOOL_FILENAME).read_text() == before
    assert send_spooled(tmp_path, store) == 4
    assert steps(store, runs_of(store)[0]) == [1, 2]


def test_a_killed_run_is_sent_as_killed(tmp_path, store):
    spool = Spool(tmp_path / SPOOL_FILENAME, {"run": "run_1", "run_name": "mine"})
    spool.entries.append({"time": 1000, "metrics": {"loss/task": 0.5}, "step": 1})
    spool.keep()
    assert send_spooled(tmp_path, store) == 1
    (run,) = runs_of(store)
    assert (run.info.status, run.info.run_name, run.data.tags[TAG]) == ("KILLED", "mine", "run_1")


def test_a_spool_of_version_0_1_is_sent_to_the_run_of_its_name(tmp_path, store):
    name = unique_run_name(tmp_path)
    client = MlflowClient(store)
    run = client.create_run(client.create_experiment("akd_monai"), run_name=name)
    line = {"run_name": name, "time": 1000, "metrics": {"loss/task": 0.5}, "step": 3}
    (tmp_path / SPOOL_FILENAME).write_text(json.dumps(line) + "\n")
    assert send_spooled(tmp_path, store) == 1
    assert [entry.info.run_id for entry in runs_of(store)] == [run.info.run_id]
    assert steps(store, run) == [3]


@pytest.mark.fault(
    "Tracking",
    "kept entries are sent while the run is running",
    injected="the folder's lock is held",
    outcome="refused, says who holds it",
)
def test_a_running_training_is_not_disturbed(tmp_path, store):
    with FolderLock(tmp_path), pytest.raises(InputError, match=r"is in use by process .* which sends them itself"):
        send_spooled(tmp_path, store)
    with pytest.raises(InputError, match="does not exist; give the folder of a run"):
        send_spooled(tmp_path / "missing", store)


@pytest.mark.fault(
    "Tracking",
    "two runs of one name",
    injected="the second is kept back and sent later",
    outcome="two runs in MLflow",
)
def test_two_runs_of_one_name_do_not_merge(tmp_path, store, monkeypatch):
    options = {"run_name": "baseline"}
    tracked(tmp_path / "a", store, epochs=1, tracker=options)
    untracked(tmp_path / "b", store, monkeypatch, epochs=2, tracker=options)
    send_spooled(tmp_path / "b")
    tracked(tmp_path / "a", store, epochs=3, tracker=options)
    first, second = runs_of(store)
    assert [run.info.run_name for run in (first, second)] == ["baseline", "baseline"]
    assert steps(store, first) == [1, 2, 3]
    assert steps(store, second) == [1, 2]


def test_an_entry_of_another_run_in_the_folder_is_kept(tmp_path):
    path = tmp_path / SPOOL_FILENAME
    training = Spool(path, {"run": "run_1"})
    training.entries.append({"time": 1, "step": 1})
    training.keep()
    evaluation = Spool(path, {"run": "run_1_evaluation"})
    assert evaluation.entries == []
    evaluation.entries.append({"time": 2})
    evaluation.sent(evaluation.entries[0])
    evaluation.entries.append({"time": 3})
    evaluation.keep()
    assert Spool(path, {"run": "run_1"}).entries == [{"time": 1, "step": 1}]
    evaluation.sent(evaluation.entries[0])
    assert Spool(path, {"run": "run_1"}).entries == [{"time": 1, "step": 1}]


def test_a_run_that_starts_from_the_beginning_is_another_run(tmp_path, store, monkeypatch):
    untracked(tmp_path, store, monkeypatch, epochs=2)
    before = unique_run_name(tmp_path)
    tracked(tmp_path, store, epochs=1, resume="never")
    assert unique_run_name(tmp_path) != before
    assert send_spooled(tmp_path) == 4
    by_name = {run.info.run_name: steps(store, run) for run in runs_of(store)}
    assert by_name == {before: [1, 2], unique_run_name(tmp_path): [1]}


def test_a_resumed_run_is_not_ended_by_what_waited(tmp_path, store, monkeypatch):
    untracked(tmp_path, store, monkeypatch, epochs=1)
    seen = []
    trainer = build(tmp_path, epochs=2, handlers=[MLflowTracker(tmp_path, store)])
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: seen.append(runs_of(store)[0].info.status))
    trainer.run()
    (run,) = runs_of(store)
    assert (seen, run.info.status, steps(store, run)) == (["RUNNING"], "FINISHED", [1, 2])


@pytest.mark.fault(
    "Tracking",
    "the database is locked",
    injected="another connection holds an exclusive lock during the run",
    outcome="not waited for; trains to the end, sent later by one call",
)
def test_a_locked_database_is_not_waited_for(tmp_path, store, monkeypatch, caplog):
    assert _BUSY_SECONDS <= 0.5
    asked = []
    with sqlite3.connect(tmp_path / "mlruns.db", isolation_level=None) as connection, monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "__init__", lambda *a, **k: asked.append(1))
        connection.execute("BEGIN EXCLUSIVE")
        trainer = tracked(tmp_path, store, epochs=2)
        connection.execute("ROLLBACK")
    connection.close()
    assert (trainer.state.epoch, asked) == (2, [])
    assert caplog.text.count("MLflow cannot be reached (database is locked)") == 1
    assert send_spooled(tmp_path) == 4
    assert steps(store, runs_of(store)[0]) == [1, 2]


@pytest.mark.fault(
    "Tracking",
    "killed while the database is made; another run is faster",
    injected="an interrupt within, and a file that appears meanwhile",
    outcome="complete or not there",
)
def test_a_new_database_appears_complete_or_not_at_all(tmp_path, empty_store, monkeypatch):
    path = tmp_path / "new.db"
    uri = f"sqlite:///{path}"
    real = SqlAlchemyStore.__init__
    seen = []

    def cut(self, *args, **kwargs):
        real(self, *args, **kwargs)
        seen.append((path.exists(), len(list(tmp_path.glob(".tmp-*")))))
        raise KeyboardInterrupt

    def overtaken(self, *args, **kwargs):
        real(self, *args, **kwargs)
        shutil.copy(empty_store, path)

    with monkeypatch.context() as patch:
        patch.setattr(SqlAlchemyStore, "__init__", cut)
        with pytest.raises(KeyboardInterrupt):
            prepare_database(uri)
    assert seen == [(False, 1)]
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(SqlAlchemyStore, "__init__", overtaken)
        prepare_database(uri)
    assert path.read_bytes() == empty_store.read_bytes()
    path.unlink()
    prepare_database(uri)
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
    assert MlflowClient(uri).search_experiments()[0].name == "Default"


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from toy_run import build
from akd_monai.handlers import MLflowTracker
import mlflow.store.tracking.sqlalchemy_store
trainer = build(sys.argv[2], epochs=1, handlers=[MLflowTracker(sys.argv[2], sys.argv[3])])
print("ready", flush=True)
sys.stdin.readline()
trainer.run()
"""


@pytest.mark.fault(
    "Tracking",
    "two first runs on one new database",
    injected="two processes start at the same moment beside a half-made file",
    outcome="both complete, a third run works too",
)
def test_two_first_runs_on_one_new_database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # left by a run that was killed while it made one
    (tmp_path / ".tmp-99999999-1-mlruns.db").write_bytes(b"half")
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([*command, str(tmp_path / name), uri], env=environment, **options) for name in "ab"]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    for run in runs:
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
    for name in "ab":
        if (tmp_path / name / SPOOL_FILENAME).exists():
            send_spooled(tmp_path / name)
    tracked(tmp_path / "c", uri, epochs=1)
    found = runs_of(uri)
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert [steps(uri, run) for run in found] == [[1]] * 3
    assert list(tmp_path.glob(".tmp-*")) == []
