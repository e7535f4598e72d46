# SPDX-License-Identifier: Apache-2.0
"""Baselines on bundles that know nothing of this package: in use, or refused in words."""

from __future__ import annotations

import json

import fire
import monai.bundle
import pytest
import torch
from small_students import flat, nested, write_student, write_volumes

from akd_monai._last_line import user_error
from akd_monai.generalisation import baseline_config, baseline_names


@pytest.fixture(autouse=True)
def no_seeds_are_left():
    yield
    monai.utils.set_determinism(None)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("foreign") / "data")


def student(root, config, **options):
    """Write a bundle of another project that trains for one epoch."""
    return write_student(root / "student", {**config, "epochs": 1}, **options)


def train(folder, name, monkeypatch, *options, suffix="json"):
    configs = f"['configs/train.{suffix}','{baseline_config(name)}']"
    with monkeypatch.context() as inside:
        inside.chdir(folder)
        command = ["run", "--config_file", configs, "--bundle_root=.", "--logging_file=False", *options]
        fire.Fire({"run": monai.bundle.run}, command=command)


def refusal(caught):
    error = user_error(caught.value)
    assert error is not None
    return str(error)


def trained(folder):
    return [path for path in (folder / "models").iterdir() if path.suffix == ".pt"]


@pytest.mark.parametrize("name", ["bigaug", "randconv"])
def test_volumes_of_another_project_are_augmented(tmp_path, volumes, monkeypatch, name):
    folder = student(tmp_path, nested(volumes))
    train(folder, name, monkeypatch)
    assert trained(folder)


def test_mixstyle_takes_layers_and_partners_that_are_named(tmp_path, volumes, monkeypatch):
    folder = student(tmp_path, nested(volumes))
    train(folder, "mixstyle", monkeypatch, "--mixstyle_layers=['model.0']", "--mixstyle_partner=any")
    names = torch.load(trained(folder)[0], weights_only=True)
    assert all(name.startswith("model.") for name in names)


def test_mixstyle_needs_layers_and_sites(tmp_path, volumes, monkeypatch):
    folder = student(tmp_path, nested(volumes))
    with pytest.raises(RuntimeError) as caught:
        train(folder, "mixstyle", monkeypatch)
    assert "MixStyle needs the module paths of layers, such as ['initial'], got [None]" in refusal(caught)
    with pytest.raises(RuntimeError) as caught:
        train(folder, "mixstyle", monkeypatch, "--mixstyle_layers=['model.0']")
    assert "the 4 training cases are of one ('data'); train on several sites" in refusal(caught)


@pytest.mark.parametrize(("name", "part"), [("bigaug", "RandGaussianSharpend"), ("randconv", "RandConvd")])
def test_transforms_that_nothing_uses_are_refused(tmp_path, volumes, monkeypatch, name, part):
    config = nested(volumes)
    # the bundle has its transforms in another place
    config["own_transforms"] = config["train"].pop("random_transforms")
    content = json.dumps(config).replace("@train#random_transforms", "@own_transforms")
    folder = student(tmp_path, json.loads(content))
    with pytest.raises(RuntimeError) as caught:
        train(folder, name, monkeypatch)
    assert f"{part} is not part of this training: the bundle's trainer does not use the ids" in refusal(caught)
    assert not trained(folder)


def test_a_handler_that_nothing_uses_is_refused(tmp_path, volumes, monkeypatch):
    config = nested(volumes)
    config["own_handlers"] = config["train"].pop("handlers")
    content = json.dumps(config).replace("@train#handlers", "@own_handlers")
    folder = student(tmp_path, json.loads(content))
    options = ("--mixstyle_layers=['model.0']", "--mixstyle_partner=any")
    with pytest.raises(RuntimeError) as caught:
        train(folder, "mixstyle", monkeypatch, *options)
    assert "MixStyle is not part of this training" in refusal(caught)


def test_a_bundle_without_the_ids_is_refused(tmp_path, volumes, monkeypatch):
    folder = student(tmp_path, flat(volumes), suffix="yaml")
    # by MONAI itself, which reads the files
    with pytest.raises(KeyError, match="query key: train"):
        train(folder, "randconv", monkeypatch, suffix="yaml")
    assert not trained(folder)


def test_every_baseline_says_what_it_is():
    for name in baseline_names():
        about = json.loads(baseline_config(name).read_text())["generalisation"]
        assert about["name"] == name
        assert about["description"].endswith(".")
        assert about["source"]


def test_deepall_changes_nothing_but_the_record():
    config = json.loads(baseline_config("deepall").read_text())
    assert set(config) == {"generalisation", "+record"}
    assert config["+record"] == {"generalisation": "@generalisation#name"}
