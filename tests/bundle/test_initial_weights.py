# SPDX-License-Identifier: Apache-2.0
"""``initial_weights`` at the doors of a bundle: training alone, and distillation of any bundle."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import monai
import pytest
import torch
from monai.bundle import ConfigParser
from small_students import nested, unet, write_big, write_student, write_volumes

from akd_monai.__main__ import user_error
from akd_monai.bundle import check_settings, distill_bundle
from akd_monai.errors import InputError
from akd_monai.files import read_json
from akd_monai.handlers import InitialWeights

BUNDLES = sorted((Path(__file__).resolve().parents[2] / "bundles").iterdir())


@pytest.fixture(autouse=True)
def no_seeds_or_modules_are_left(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)


@pytest.fixture
def bundles(tmp_path):
    data = write_volumes(tmp_path / "data")
    config = nested(data, network_def=unet(2), epochs=1)
    return write_big(tmp_path / "teacher", config), write_student(tmp_path / "student", config)


def saved(path, value):
    network = ConfigParser({"network_def": unet(2)}).get_parsed_content("network_def")
    state = {name: torch.full_like(tensor, value) for name, tensor in network.state_dict().items()}
    torch.save(state, path)
    return path


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_every_bundle_has_the_id_off_and_its_handler_before_the_checkpoint(bundle):
    config = read_json(bundle / "configs" / "train.json")
    assert config["initial_weights"] is None
    targets = [handler["_target_"].rpartition(".")[2] for handler in config["train"]["handlers"]]
    assert targets.index("InitialWeights") < targets.index("ResumableCheckpoint")
    handler = config["train"]["handlers"][targets.index("InitialWeights")]
    for value, kind in ((None, type(None)), ("model.pt", InitialWeights)):
        parser = ConfigParser({"initial_weights": value, "handler": handler})
        assert type(parser.get_parsed_content("handler")) is kind
    for name in ("train.json", "multi_gpu_train.json"):
        check = read_json(bundle / "configs" / name)["initialize"][0]
        assert "initial_weights=@initial_weights" in check
    distill = bundle / "configs" / "distill.json"
    if distill.exists():
        # the value of train.json counts, also when a user has written one there
        assert "initial_weights" not in read_json(distill)


def test_a_foreign_student_is_distilled_from_a_file(bundles, tmp_path, caplog):
    """At a learning rate of 0 the student that is saved is the file."""
    start = saved(tmp_path / "start.pt", 0.25)
    with caplog.at_level("INFO"):
        distill_bundle(*bundles, initial_weights=str(start), **{"optimizer#lr": 0.0})
    assert f"initial weights: {start}" in caplog.text
    found = torch.load(bundles[1] / "distillation" / "resume.pt", weights_only=True)["parts"]["network"]
    trained = {name: tensor for name, tensor in found.items() if "running" not in name and "num_batches" not in name}
    assert trained
    assert all((tensor == 0.25).all() for tensor in trained.values())


def test_a_distillation_from_another_file_is_another_run(bundles, tmp_path):
    distill_bundle(*bundles, initial_weights=str(saved(tmp_path / "start.pt", 0.25)))
    with pytest.raises(RuntimeError) as caught:
        distill_bundle(*bundles, initial_weights=str(saved(tmp_path / "other.pt", 0.5)))
    assert "another run, which differs in trainer.initial_weights (was '" in str(user_error(caught.value))
    with pytest.raises(RuntimeError) as caught:
        distill_bundle(*bundles)
    assert re.search(r"trainer\.initial_weights \(was '.*is absent", str(user_error(caught.value)))


@pytest.mark.parametrize("value", [5, True, ["model.pt"]], ids=str)
def test_a_value_that_is_no_path_is_said(value):
    with pytest.raises(InputError, match="initial_weights must be a path, or None, got"):
        check_settings(initial_weights=value)
