# SPDX-License-Identifier: Apache-2.0
"""Each baseline as a user trains it, for a site that is left out: stopped, resumed, evaluated, and opening nothing of it."""

from __future__ import annotations

import json
from pathlib import Path

import fire
import monai.bundle
import pytest
import torch
from audited_cells import opened_below
from bundle_tools import small_bundle

from akd_monai._last_line import user_error
from akd_monai.files import read_json
from akd_monai.generalisation import baseline_config
from akd_monai.handlers import KeyedRandomness
from akd_monai.networks import load_weights
from akd_monai.networks.nets import ENet

BASELINES = ["bigaug", "mixstyle", "randconv"]
SOURCES = "['RUNMC','BMC']"


@pytest.fixture(autouse=True)
def no_seeds_are_left():
    yield
    monai.utils.set_determinism(None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return small_bundle("enet", tmp_path_factory.mktemp("bundles") / "enet", samples_per_epoch=8, val_interval=2)


@pytest.fixture
def target(six):
    """Return the folder of the site that is left out, whose files are no images during the test."""
    files = {path: path.read_bytes() for path in (six / "HK").iterdir()}
    for path in files:
        path.write_bytes(b"poison")
    yield six / "HK"
    for path, content in files.items():
        path.write_bytes(content)


def run(bundle, six, monkeypatch, folder, config, *options):
    """Run configs in a bundle's folder as ``python -m monai.bundle`` parses them."""
    configs = ",".join(f"'{name}'" for name in ("configs/train.json", str(config)))
    flags = [f"--ckpt_dir={folder}/models", f"--output_dir={folder}/eval", f"--dataset_dir={six}", "--folds=$None"]
    folder.mkdir(exist_ok=True)
    with monkeypatch.context() as inside:
        inside.chdir(bundle)
        command = ["run", "--config_file", f"[{configs}]", *flags, "--logging_file=False", *options]
        fire.Fire({"run": monai.bundle.run}, command=command)


def train(bundle, six, monkeypatch, folder, name):
    options = (f"--sites={SOURCES}", "--iterations_per_checkpoint=1")
    run(bundle, six, monkeypatch, folder, baseline_config(name), *options)


def stop_at(monkeypatch, iteration):
    """Let the next training end with an error when this iteration starts."""
    begin = KeyedRandomness._start_iteration

    def end(self, engine):
        if engine.state.iteration == iteration:
            raise RuntimeError("power failure")
        begin(self, engine)

    monkeypatch.setattr(KeyedRandomness, "_start_iteration", end)


def weights(folder):
    return torch.load(folder / "models" / "model.pt", weights_only=True)


@pytest.mark.fault(
    "Experiments",
    "a baseline of domain generalisation opens a case of the site that is left out, or is stopped in an epoch",
    injected="images and masks of the site are garbage, every file that is opened is on record, an error in an iteration",
    outcome="no file of the site is opened, and the resumed run ends with the weights of a run in one go",
)
@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_opens_nothing_of_the_target_and_resumes_bit_for_bit(
    bundle, six, target, tmp_path, monkeypatch, name
):
    complete, stopped = tmp_path / "complete", tmp_path / "stopped"
    with opened_below(target) as opened:
        train(bundle, six, monkeypatch, complete, name)
        with monkeypatch.context() as inside:
            stop_at(inside, 4)
            with pytest.raises(RuntimeError, match="train::trainer"):
                train(bundle, six, monkeypatch, stopped, name)
        train(bundle, six, monkeypatch, stopped, name)
    assert opened == []
    one, other = weights(complete), weights(stopped)
    assert all(torch.equal(one[key], other[key]) for key in one)
    facts = read_json(complete / "eval" / "training.json")
    assert (facts["generalisation"], facts["sites"], facts["iterations"]) == (name, ["RUNMC", "BMC"], 4)
    # an ordinary file of weights
    load_weights(ENet(2, 1, 2), complete / "models" / "model.pt")


def test_the_weights_are_evaluated_without_the_baseline_and_another_mix_is_another_run(
    bundle, six, tmp_path, monkeypatch
):
    train(bundle, six, monkeypatch, tmp_path, "mixstyle")
    options = ("--sites=['HK']", "--part=all", f"--ckpt_path={tmp_path}/models/model.pt")
    run(bundle, six, monkeypatch, tmp_path, "configs/evaluate.json", *options)
    facts = read_json(tmp_path / "eval" / "evaluation.json")
    assert facts["sites"] == ["HK"]
    assert len(facts["case_ids"]) == 3
    trained = read_json(tmp_path / "eval" / "training.json")
    assert facts["weights_sha256"] == trained["weights_sha256"]
    own = tmp_path / "own.json"
    own.write_text(json.dumps({**read_json(baseline_config("mixstyle")), "mixstyle_alpha": 0.3}))
    with pytest.raises(RuntimeError) as caught:
        run(bundle, six, monkeypatch, tmp_path, own, f"--sites={SOURCES}", "--iterations_per_checkpoint=1")
    assert "mixstyle.alpha (was 0.1, is 0.3)" in str(user_error(caught.value))
