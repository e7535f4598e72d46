# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
import os

import mlflow
import pytest
import torch
from ignite.engine import Events
from mlflow.tracking import MlflowClient
from monai.bundle import ConfigWorkflow
from toy_run import build

from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.handlers import MLflowTracker, unique_run_name

SPOOL_FILENAME = "mlflow_spool.jsonl"
TARGET = "akd_monai.handlers.MLflowTracker"
# for `--tracking tracking.json`: MONAI adds it to any bundle
TRACKING = {
    "handlers_id": {"trainer": {"id": "train#trainer", "handlers": "train#handlers"}},
    "configs": {
        "output_dir": "$@bundle_root + '/eval'",
        "tracking_uri": "$monai.utils.path_to_sqlite_uri(@output_dir + '/mlruns.db')",
        "experiment_name": "akd_monai",
        "run_name": None,
        "save_execute_config": True,
        "trainer": {
            "_target_": TARGET,
            "output_dir": "@output_dir",
            "tracking_uri": "@tracking_uri",
            "experiment_name": "@experiment_name",
            "run_name": "@run_name",
            "experiment_param": {"learning_rate": "$@optimizer.defaults['lr']"},
            "artifacts": "@save_execute_config",
            "model_path": "$@bundle_root + '/models/model.pt'",
        },
    },
}


def runs_of(store):
    client = MlflowClient(store)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client.search_runs(experiments, order_by=["attributes.start_time ASC"])


def tracked(folder, store, *, tracker=None, **options):
    trainer = build(folder, handlers=[MLflowTracker(folder, store, **(tracker or {}))], **options)
    trainer.run()
    return trainer


def test_search_gives_back_terms_params_files_and_hash(tmp_path, store, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    trainer = tracked(
        tmp_path,
        store,
        epochs=2,
        tracker={
            "experiment_param": {"lr": 0.01, "teacher": {"name": "unetplusplus"}, "long": "x" * 7000},
            "artifacts": str(tmp_path / "config.json"),
            "model_path": tmp_path / "model.pt",
            "tags": {"site": "BMC"},
        },
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    table = mlflow.search_runs(search_all_experiments=True)
    row = table.iloc[0]
    assert (len(table), row["status"]) == (1, "FINISHED")
    assert row["params.teacher/name"] == "unetplusplus"
    assert row["params.lr"] == "0.01"
    assert row["params.max_epochs"] == "2"
    assert row["params.epoch_length"] == "5"
    assert row["params.network_parameters"] == str(sum(p.numel() for p in trainer.network.parameters()))
    assert len(row["params.long"]) == 6000
    assert row["tags.checkpoint_sha256"] == sha256_of(tmp_path / "model.pt")
    assert row["tags.site"] == "BMC"
    client, run_id = MlflowClient(store), row["run_id"]
    for name in ("loss/task", "loss/total", "val_mean_dice", "lr"):
        assert [point.step for point in client.get_metric_history(run_id, name)] == [1, 2]
    assert client.get_metric_history(run_id, "loss/task")[-1].value == trainer.state.metrics["loss/task"]
    assert [a.path for a in client.list_artifacts(run_id)] == ["config.json"]


def test_tracking_changes_neither_weights_nor_history(tmp_path, store):
    plain = build(tmp_path / "plain", epochs=2)
    plain.run()
    followed = tracked(tmp_path / "tracked", store, epochs=2)
    weights = zip(plain.network.state_dict().values(), followed.network.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    histories = [(tmp_path / name / "history.jsonl").read_text() for name in ("plain", "tracked")]
    assert histories[0] == histories[1]


def test_resumed_run_continues_in_its_run_and_another_folder_never_does(tmp_path, store):
    trainer = build(tmp_path / "a", handlers=[MLflowTracker(tmp_path / "a", store)])
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=12), lambda e: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    (failed,) = runs_of(store)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["error"].startswith("ZeroDivisionError")
    tracked(tmp_path / "b", store, epochs=1)
    tracked(tmp_path / "a", store)
    first, other = runs_of(store)
    assert (first.info.run_id, first.info.status, other.info.status) == (failed.info.run_id, "FINISHED", "FINISHED")
    steps = [p.step for p in MlflowClient(store).get_metric_history(first.info.run_id, "loss/task")]
    assert steps == [1, 2, 3, 4]
    assert first.info.run_name == unique_run_name(tmp_path / "a") != other.info.run_name


def test_killed_run_is_taken_up_again(tmp_path, store, run_toy):
    name = unique_run_name(tmp_path)
    client = MlflowClient(store)
    run = client.create_run(client.create_experiment("akd_monai"), run_name=name)  # as a SIGKILL leaves it: RUNNING
    tracked(tmp_path, store, epochs=1)
    assert [r.info.run_id for r in runs_of(store)] == [run.info.run_id]


@pytest.mark.fault(
    "Tracking",
    "a tracked run is stopped",
    injected="SystemExit within an epoch",
    outcome="marked as KILLED",
)
def test_stopped_run_is_marked(tmp_path, store):
    def stop(engine):
        raise SystemExit(143)

    trainer = build(tmp_path, handlers=[MLflowTracker(tmp_path, store)])
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=7), stop)
    with pytest.raises(SystemExit):
        trainer.run()
    assert [r.info.status for r in runs_of(store)] == ["KILLED"]


def test_finished_run_started_again_leaves_no_trace(tmp_path, store):
    tracked(tmp_path, store, epochs=1)
    (before,) = runs_of(store)
    tracked(tmp_path, store, epochs=1)
    (after,) = runs_of(store)
    assert after.to_dictionary() == before.to_dictionary()


def test_finished_run_with_more_epochs_is_reopened_and_says_what_changed(tmp_path, store):
    tracked(tmp_path, store, epochs=1)
    tracked(tmp_path, store, epochs=2)
    (run,) = runs_of(store)
    assert run.data.params["max_epochs"] == "1"
    assert run.data.tags["changed/max_epochs"] == "2"
    assert [p.step for p in MlflowClient(store).get_metric_history(run.info.run_id, "lr")] == [1, 2]


def test_undefined_metrics_are_left_out_and_named(tmp_path, store):
    trainer = build(tmp_path, epochs=1, handlers=[MLflowTracker(tmp_path, store)])
    trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda e: e.state.metrics.update(hd95=math.nan, asd=math.inf, odd=torch.ones(2))
    )
    trainer.run()
    (run,) = runs_of(store)
    assert "hd95" not in run.data.metrics
    assert "asd" not in run.data.metrics
    assert run.data.metrics["odd/1"] == 1.0
    assert run.data.tags["undefined"] == "asd, hd95 (epoch 1)"


@pytest.mark.fault(
    "Tracking",
    "the server dies in the middle of a run",
    injected="MLflow's client raises from then on",
    outcome="weights bit-identical; one warning; what was missed is sent when it answers",
)
def test_outage_does_not_touch_the_training_and_is_made_up_for(tmp_path, store, monkeypatch, caplog):
    def down(*args, **kwargs):
        raise ConnectionError("server gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", down)
        trainer = tracked(tmp_path, store, epochs=2)
    assert trainer.state.epoch == 2
    assert caplog.text.count("MLflow cannot be reached (server gone)") == 1
    assert len((tmp_path / SPOOL_FILENAME).read_text().splitlines()) == 4  # parameters, two epochs, the end
    tracked(tmp_path, store, epochs=3)
    (run,) = runs_of(store)
    assert not (tmp_path / SPOOL_FILENAME).exists()
    assert [p.step for p in MlflowClient(store).get_metric_history(run.info.run_id, "loss/task")] == [1, 2, 3]
    assert run.data.params["max_epochs"] == "2"


@pytest.mark.fault(
    "Tracking",
    "the server was never there",
    injected="a port that nobody listens on",
    outcome="trains to the end, one warning, everything is kept",
)
def test_server_that_was_never_there(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert tracked(tmp_path, "http://127.0.0.1:9", epochs=2).state.epoch == 2
    assert caplog.text.count("MLflow cannot be reached") == 1
    assert (tmp_path / SPOOL_FILENAME).is_file()


@pytest.mark.fault(
    "Tracking",
    "no server and no place to keep what waits",
    injected="a file in the place of the output folder",
    outcome="trains to the end, says that entries stay in memory only",
)
def test_outage_without_a_place_for_the_spool_does_not_touch_the_training(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("in the way")
    tracker = MLflowTracker(tmp_path / "file", "http://127.0.0.1:9", run_name="a")
    trainer = build(tmp_path / "run", epochs=2, handlers=[tracker])
    trainer.run()
    assert trainer.state.epoch == 2
    assert "the entries stay in memory only" in caplog.text


@pytest.mark.fault(
    "Tracking",
    "one call to MLflow fails",
    injected="the second of several raises",
    outcome="made up for within the run",
)
def test_recovery_within_a_run(tmp_path, store, monkeypatch):
    monkeypatch.setattr("akd_monai.handlers._outage._PAUSE_SECONDS", 0.0)
    real, calls = MlflowClient.log_batch, []

    def flaky(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError("for a moment")
        return real(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", flaky)
    tracked(tmp_path, store, epochs=3)
    (run,) = runs_of(store)
    assert [p.step for p in MlflowClient(store).get_metric_history(run.info.run_id, "lr")] == [1, 2, 3]
    assert not (tmp_path / SPOOL_FILENAME).exists()


@pytest.mark.parametrize("settings", [{"tracking_uri": "file:///runs"}, {"tracking_uri": "runs"}, {"run_name": 'a"b'}])
def test_mistakes_are_told_when_the_config_is_built(tmp_path, settings):
    with pytest.raises(InputError, match=r"tracking_uri must be|run_name must be"):
        MLflowTracker(tmp_path, **settings)


def test_bundle_is_tracked_through_a_settings_file(tmp_path, store, monkeypatch):
    (tmp_path / "tracking.json").write_text(json.dumps(TRACKING))
    target = "monai.engines.SupervisedTrainer"
    config = {
        "imports": ["$import torch"],
        "bundle_root": str(tmp_path),
        "output_dir": f"$'{tmp_path}'",
        "net": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
        "optimizer": {"_target_": "torch.optim.SGD", "params": "$@net.parameters()", "lr": 0.125},
        "train": {
            "handlers": [{"_target_": "akd_monai.handlers.LossTerms"}],
            "trainer": {
                "_target_": target,
                "device": "cpu",
                "max_epochs": 2,
                "train_data_loader": "$[{'image': torch.ones(1, 1, 2, 2), 'label': torch.ones(1, 1, 2, 2)}]",
                "network": "@net",
                "optimizer": "@optimizer",
                "loss_function": "$torch.nn.MSELoss()",
                "train_handlers": "@train#handlers",
            },
        },
        "run": ["$@train#trainer.run()"],
    }
    (tmp_path / "train.json").write_text(json.dumps(config))
    workflow = ConfigWorkflow(
        config_file=str(tmp_path / "train.json"),
        meta_file=None,
        logging_file=False,
        workflow_type="train",
        tracking=str(tmp_path / "tracking.json"),
    )
    workflow.initialize()
    workflow.run()
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.125"
    assert run.data.metrics.keys() == {"loss/task", "loss/total", "lr"}
    (artifact,) = MlflowClient(store).list_artifacts(run.info.run_id)
    path = MlflowClient(store).download_artifacts(run.info.run_id, artifact.path)
    with open(path) as stream:
        assert json.load(stream)["train"]["trainer"]["_target_"] == target
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
