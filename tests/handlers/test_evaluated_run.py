# SPDX-License-Identifier: Apache-2.0
"""A test of weights is logged to the run of their training, or kept, or is of no run at all."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine
from mlflow.tracking import MlflowClient
from test_mlflow_tracker import SPOOL_FILENAME
from test_moved_runs import PAGE

from akd_monai.files import sha256_of
from akd_monai.handlers import LoadWeights, send_spooled
from akd_monai.handlers._evaluated_run import log_evaluation
from akd_monai.handlers._tracked_run import TrackedRun, write_tracked_run


class Exported(torch.nn.Linear):
    def check_weights(self, path):
        """Accept any file, as a network that was exported from it."""


def evaluated(folder, network=None):
    """Return an evaluator that has run with the weights of a training named run_1."""
    network = network or torch.nn.Linear(1, 1)
    weights = folder / "models" / "model.pt"
    weights.parent.mkdir()
    torch.save(network.state_dict(), weights)
    best = {"run": "run_1", "file": "model.pt", "sha256": sha256_of(weights)}
    weights.with_name("best.json").write_text(json.dumps(best))
    evaluator = Engine(lambda engine, batch: None)
    LoadWeights(network, weights).attach(evaluator)
    evaluator.run([0])
    evaluator.state.metrics = {"dice": 0.5, "hd95": float("nan")}
    return evaluator


def track(folder, uri):
    write_tracked_run(folder / "models", TrackedRun("run_1", "one", "mine", uri))


def run_of(store):
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


@pytest.fixture
def known_run(store):
    client = MlflowClient(store)
    client.create_run(client.create_experiment("mine"), tags={"akd_monai.run": "run_1"}, run_name="one")
    return store


def test_it_stands_in_the_row_of_the_training(tmp_path, known_run):
    evaluator = evaluated(tmp_path)
    track(tmp_path, known_run)
    shown = log_evaluation(evaluator, tmp_path)
    run = run_of(known_run)
    assert shown == f"mlflow ui --backend-store-uri {known_run}, then http://127.0.0.1:5000/#/experiments/1/{PAGE}"
    assert run.data.metrics == {"test_dice": 0.5}
    assert run.data.tags["test.undefined"] == "test_hd95"


def test_of_a_training_that_was_not_tracked_nothing_is_said(tmp_path, caplog):
    assert log_evaluation(evaluated(tmp_path), tmp_path) is None
    warnings = [record for record in caplog.records if record.levelname != "INFO"]
    assert (warnings, (tmp_path / SPOOL_FILENAME).exists()) == ([], False)


def test_what_was_exported_has_figures_of_its_own(tmp_path, known_run):
    evaluator = evaluated(tmp_path, Exported(1, 1))
    track(tmp_path, known_run)
    assert log_evaluation(evaluator, tmp_path) is None
    assert run_of(known_run).data.metrics == {}


@pytest.mark.fault(
    "Tracking",
    "an evaluation cannot reach the run of its training",
    injected="a database that is gone, and one without that run",
    outcome="evaluates to the end, one warning, the scores are kept and sent later",
)
@pytest.mark.parametrize("reason", ["does not exist", "has no run run_1"])
def test_what_cannot_be_sent_is_kept_for_the_run(tmp_path, store, known_run, caplog, reason):
    evaluator = evaluated(tmp_path)
    gone = tmp_path / "gone" / "mlruns.db"
    if reason != "does not exist":
        gone.parent.mkdir()
        gone.write_bytes((tmp_path / "mlruns.db").read_bytes())
        run = run_of(f"sqlite:///{gone}")
        MlflowClient(f"sqlite:///{gone}").set_tag(run.info.run_id, "akd_monai.run", "another")
    track(tmp_path, f"sqlite:///{gone}")
    assert log_evaluation(evaluator, tmp_path) is None
    assert f"{reason}): evaluation continues, and what is not sent is kept in" in caplog.text
    assert gone.exists() == (reason != "does not exist")
    assert send_spooled(tmp_path, known_run) == 1
    assert run_of(known_run).data.metrics == {"test_dice": 0.5}
