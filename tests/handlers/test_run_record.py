# SPDX-License-Identifier: Apache-2.0
"""What a training and an evaluation say about themselves, and that only complete ones say it."""

from __future__ import annotations

import hashlib
import json
import signal

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader as MonaiLoader
from monai.data import Dataset as MonaiDataset
from monai.engines import SupervisedEvaluator
from toy_run import EPOCHS, SAMPLES, build, network

from akd_monai.data import fingerprint
from akd_monai.errors import InputError
from akd_monai.handlers import InitialWeights, LoadWeights, RunRecord


def read(folder, name="training.json"):
    return json.loads((folder / name).read_text())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_training_says_what_its_trainer_had(tmp_path):
    torch.save(network(seed=9).state_dict(), tmp_path / "start.pt")
    record = RunRecord(tmp_path, {"seed": 5, "fold": None})
    trainer = build(
        tmp_path, first=[record, InitialWeights(tmp_path / "start.pt")], score=lambda epoch: -abs(epoch - 3)
    )
    trainer.run()
    found = read(tmp_path)
    wanted = {
        "seed": 5,
        "fold": None,
        "epochs": EPOCHS,
        "iterations": EPOCHS * SAMPLES // 2,
        "batch_size": 2,
        "processes": 1,
        # as given to Adam: by then the schedule has another
        "learning_rate": 0.01,
        "optimizer": "Adam",
        "network": "Sequential",
        # 4 * 9 + 4 of the first convolution, 2 * 4 of the normalisation, 4 + 1 of the last
        "network_parameters": 53,
        "initial_weights_sha256": sha256(tmp_path / "start.pt"),
        "weights_sha256": sha256(tmp_path / "model.pt"),
        "best_epoch": 3,
        "best_metric": 0.0,
        "device": "cpu",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert (found["lambdas"], found["terms"], found["teacher"]) == (None, None, None)
    assert trainer.optimizer.param_groups[0]["lr"] != 0.01


def test_weights_are_those_of_a_training_without_a_record(tmp_path):
    plain = build(tmp_path / "plain", epochs=2)
    plain.run()
    told = build(tmp_path / "told", epochs=2, first=[RunRecord(tmp_path / "told", {"seed": 5})])
    told.run()
    wanted = plain.network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in told.network.state_dict().items())


def test_a_resumed_training_writes_what_an_undisturbed_one_does(tmp_path):
    build(tmp_path / "once", handlers=[RunRecord(tmp_path / "once")]).run()

    def stop(engine):
        signal.raise_signal(signal.SIGTERM)

    cut = build(tmp_path / "twice", handlers=[RunRecord(tmp_path / "twice")])
    cut.add_event_handler(Events.ITERATION_COMPLETED(once=13), stop)
    with pytest.raises(SystemExit):
        cut.run()
    assert not (tmp_path / "twice" / "training.json").exists()
    build(tmp_path / "twice", first=[RunRecord(tmp_path / "twice")]).run()
    assert read(tmp_path / "twice") == read(tmp_path / "once")


def test_a_finished_training_that_is_started_again_still_says_it(tmp_path):
    build(tmp_path, handlers=[RunRecord(tmp_path)]).run()
    before = read(tmp_path)
    (tmp_path / "training.json").unlink()
    build(tmp_path, handlers=[RunRecord(tmp_path)]).run()
    assert read(tmp_path) == before


def test_more_epochs_replace_the_record_at_their_end_and_not_before(tmp_path):
    build(tmp_path, epochs=1, handlers=[RunRecord(tmp_path)]).run()
    longer = build(tmp_path, epochs=2, handlers=[RunRecord(tmp_path)])
    present = []
    longer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: present.append((tmp_path / "training.json").exists())
    )
    longer.run()
    assert not any(present)
    assert read(tmp_path)["epochs"] == 2


def cases(folder, count):
    """Return cases with files, in an order that is not that of their names."""
    found = []
    for number in reversed(range(count)):
        for key in ("image", "label"):
            (folder / f"{key}{number}").write_bytes(f"{key} {number}".encode())
        files = {key: str(folder / f"{key}{number}") for key in ("image", "label")}
        found.append({**files, "case_id": f"HK/Case{number}", "site": "HK" if number else "BMC"})
    return found


def loaded(item):
    return {"image": torch.ones(1, 8, 8), "label": torch.ones(1, 8, 8), "case_id": item["case_id"]}


def evaluator(folder, listed, *handlers, facts=None):
    net = network()
    torch.save(network(seed=9).state_dict(), folder / "model.pt")
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=MonaiLoader(MonaiDataset(listed, loaded)),
        network=net,
        val_handlers=[RunRecord(folder, facts), LoadWeights(net, folder / "model.pt"), *handlers],
    )


def test_an_evaluation_says_which_cases_and_weights_it_had(tmp_path):
    listed = cases(tmp_path, 3)
    evaluator(tmp_path, listed, facts={"part": "test"}).run()
    found = read(tmp_path, "evaluation.json")
    assert found["case_ids"] == ["HK/Case2", "HK/Case1", "HK/Case0"]
    assert found["sites"] == ["HK", "BMC"]
    assert found["cases"] == fingerprint(listed)
    assert found["weights_sha256"] == sha256(tmp_path / "model.pt")
    assert found["part"] == "test"
    assert not (tmp_path / "training.json").exists()


def test_other_content_of_a_mask_is_another_fingerprint(tmp_path):
    listed = cases(tmp_path, 2)
    evaluator(tmp_path, listed).run()
    before = read(tmp_path, "evaluation.json")["cases"]
    (tmp_path / "label1").write_bytes(b"drawn again")
    evaluator(tmp_path, listed).run()
    assert read(tmp_path, "evaluation.json")["cases"] != before


def test_an_evaluation_that_stops_early_leaves_no_record(tmp_path):
    listed = cases(tmp_path, 3)
    evaluator(tmp_path, listed).run()
    stopped = evaluator(tmp_path, listed)
    stopped.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate())
    stopped.run()
    assert not (tmp_path / "evaluation.json").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_leaves_no_record(tmp_path, error):
    def fail(engine):
        raise error

    failing = build(tmp_path, handlers=[RunRecord(tmp_path)])
    failing.add_event_handler(Events.ITERATION_COMPLETED(once=19), fail)
    with pytest.raises(error):
        failing.run()
    assert not (tmp_path / "training.json").exists()


def test_no_home_folder_and_no_user_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "canaryhome"))
    build(tmp_path, epochs=1, handlers=[RunRecord(tmp_path, {"data": str(tmp_path / "canaryhome" / "data")})]).run()
    assert read(tmp_path)["data"] == "~/data"


def test_a_fact_that_the_engine_knows_better_is_refused_before_the_first_step(tmp_path):
    trainer = build(tmp_path, handlers=[RunRecord(tmp_path, {"learning_rate": 1.0})])
    with pytest.raises(InputError, match="facts of RunRecord hold 'learning_rate', which is read from the engine"):
        trainer.run()
    assert trainer.state.iteration == 0


def test_facts_that_json_cannot_hold_are_refused():
    with pytest.raises(InputError, match=r"facts of RunRecord must be JSON values: .*Sequential"):
        RunRecord(".", {"network": network()})
    with pytest.raises(InputError, match="facts of RunRecord must be JSON values"):
        RunRecord(".", {"lr": float("nan")})
