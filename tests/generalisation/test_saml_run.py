# SPDX-License-Identifier: Apache-2.0
"""A student trained on three sites of four by SAML and by the split: killed, resumed, and without reading the target."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import monai
import pytest
import torch
from bundle_tools import SIZE, small_bundle
from ignite.engine import Events
from site_tools import messages, train

from akd_monai.errors import InputError
from akd_monai.generalisation._site_trainer import SiteTrainer
from akd_monai.networks.nets import ENet
from akd_monai.prostate import make_phantom

TARGET = "UCL"
SOURCES = ["RUNMC", "HK", "I2CVB"]
BASELINES = ["saml", "disentangle"]


@pytest.fixture(autouse=True)
def no_seeds_are_left():
    yield
    monai.utils.set_determinism(None)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """Synthetic cases of four sites."""
    folder = tmp_path_factory.mktemp("data") / "phantom"
    sites = [*SOURCES, TARGET]
    return make_phantom(folder, cases_per_site=3, sites=sites, size=SIZE, slices=4, seed=0, progress=False)


def student(root: Path) -> Path:
    """Write a student whose epochs have two batches of six."""
    return small_bundle("enet", root, folds=None, batch_size=6)


def run(bundle: Path, baseline: str, data: Path, **options: Any) -> Any:
    return train(bundle, baseline, data, **{"sites": SOURCES, "batch_size": 6, **options})


def state_of(bundle: Path) -> dict[str, Any]:
    """Return all that a finished run has left, flat: weights, optimizers, auxiliary networks, and the best model."""
    saved = torch.load(bundle / "eval" / "resume.pt", weights_only=True)
    assert saved["finished"]
    found: dict[str, Any] = {}
    _flatten({name: saved[name] for name in ("parts", "members")}, "", found)
    best = torch.load(bundle / "models" / "model.pt", weights_only=True)
    found |= {f"best {name}": value for name, value in best.items()}
    return {name: value for name, value in found.items() if "SaveBestModel" not in name}


def _flatten(value: Any, name: str, found: dict[str, Any]) -> None:
    if isinstance(value, (dict, list, tuple)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            _flatten(part, f"{name} {key}", found)
    else:
        found[name] = value


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    assert one.keys() == other.keys()
    pairs = ((name, one[name], other[name]) for name in one)
    return [name for name, a, b in pairs if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b)]


def killed_in_fork(bundle: Path, baseline: str, data: Path, at: int) -> int:
    """Train in another process, which sends itself SIGKILL in the middle of a step; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        torch.set_num_threads(1)
        features = SiteTrainer._features

        def hit(self) -> torch.Tensor:
            if self.state.iteration == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return features(self)

        SiteTrainer._features = hit
        run(bundle, baseline, data, iterations_per_checkpoint=1)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(1)


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory, phantom) -> dict[str, Path]:
    folders = {name: student(tmp_path_factory.mktemp(name) / "student") for name in BASELINES}
    for name, folder in folders.items():
        run(folder, name, phantom)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize(("baseline", "at"), [("saml", 2), ("disentangle", 4)])
def test_a_killed_run_ends_as_one_in_one_go(in_one_go, phantom, tmp_path, baseline, at):
    folder = student(tmp_path / "student")
    assert killed_in_fork(folder, baseline, phantom, at) == -signal.SIGKILL
    reached = torch.load(folder / "eval" / "resume.pt", weights_only=True)["iteration"]
    assert reached == at - 1
    run(folder, baseline, phantom)
    expected = state_of(in_one_go[baseline])
    assert differing(state_of(folder), expected) == []
    assert any("Companions_0 network" in name for name in expected)
    assert any("Companions_0 optimizer" in name for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", BASELINES)
def test_what_is_left_is_a_plain_student_with_its_name(in_one_go, baseline):
    folder = in_one_go[baseline]
    ENet(2, 1, 2).load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True), strict=True)
    record = json.loads((folder / "eval" / "training.json").read_text())
    assert record["generalisation"] == baseline
    if baseline == "saml":
        assert record["generalisation_title"] == "SAML (re-implemented, first order, ENet)"
    terms = {
        "saml": {"meta_train", "meta_test", "compactness", "smoothness"},
        "disentangle": {"task", "reconstruction", "content", "style"},
    }[baseline]
    for line in (folder / "eval" / "history.jsonl").read_text().splitlines():
        assert {f"loss/{term}" for term in terms} < json.loads(line).keys()


@pytest.mark.slow
@pytest.mark.parametrize("baseline", BASELINES)
def test_no_byte_of_the_target_is_read(in_one_go, phantom, tmp_path, baseline):
    data = tmp_path / "data"
    shutil.copytree(phantom, data)
    for file in (data / TARGET).iterdir():
        # nothing could be read of it without an error
        file.write_bytes(b"not an image")
    folder = student(tmp_path / "student")
    seen = set()
    trainer_of = SiteTrainer.__init__

    def watched(self, **options):
        trainer_of(self, **options)
        self.add_event_handler(Events.GET_BATCH_COMPLETED, lambda engine: seen.update(engine.state.batch["case_id"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SiteTrainer, "__init__", watched)
        run(folder, baseline, data)
    assert differing(state_of(folder), state_of(in_one_go[baseline])) == []
    assert {name.split("/")[0] for name in seen} == set(SOURCES)
    # with the target among the sources the same training could not even start
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(student(tmp_path / "leaking"), baseline, data, sites=[*SOURCES, TARGET])
    assert "UCL/Case0" in messages(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("baseline", "sites"), [("saml", 2), ("disentangle", 1)])
def test_too_few_sources_are_refused(phantom, tmp_path, baseline, sites):
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(student(tmp_path / "student"), baseline, phantom, sites=SOURCES[:sites])
    assert f"training cases of at least {sites + 1} sites, got {sites}" in messages(caught.value)


@pytest.mark.slow
def test_a_resumed_run_of_other_numbers_is_refused(in_one_go, phantom, tmp_path):
    folder = tmp_path / "student"
    shutil.copytree(in_one_go["saml"], folder)
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(folder, "saml", phantom, **{"saml#margin": 5.0})
    assert "saml.margin (was 10.0, is 5.0)" in messages(caught.value)
