# SPDX-License-Identifier: Apache-2.0
"""Every baseline on bundles that know nothing of this package: 2D, 3D, several classes, sigmoid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from site_tools import messages, train
from zoo_style_tools import metadata, train_json

from akd_monai.errors import InputError
from akd_monai.generalisation import baseline_names

SIZE = 16
PAIRS = "$[{'image': i, 'label': i.replace('image', 'label'), 'site': i.split('_')[-1][0]} for i in sorted(@images)]"
LAYER = "model.0"


@pytest.fixture(autouse=True)
def no_seeds_are_left():
    yield
    monai.utils.set_determinism(None)


def write_images(folder: Path, dims: int, classes: int) -> Path:
    """Write two noisy images of each of three sites, whose last letter of the name is the site."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(6):
        label = np.zeros((SIZE,) * dims, np.uint8)
        for part in range(1, classes):
            label[(slice(5 * part, 5 * part + 4),) * dims] = part
        image = label + draw.normal(0, 0.2, label.shape) + number % 3
        name = f"{number}_{'ABC'[number % 3]}.npy"
        np.save(folder / f"image{name}", image[..., None].astype(np.float32))
        np.save(folder / f"label{name}", label[..., None])
    return folder


def foreign(root: Path, dims: int, classes: int, *, sigmoid: bool = False) -> tuple[Path, Path]:
    """Write a bundle and its data."""
    data = write_images(root / "data", dims, classes)
    config = train_json(dims, 1, classes, sigmoid=sigmoid)
    config |= {"dataset_dir": str(data), "pairs": PAIRS, "epochs": 2}
    section = config["train"]
    section["deterministic_transforms"][0].update(reader="NumpyReader")
    section["deterministic_transforms"][0].pop("channel_dim", None)
    section["deterministic_transforms"][1].update(channel_dim=-1)
    section["random_transforms"][0].update(spatial_size=[SIZE] * dims)
    section["dataloader"].update(shuffle=True)
    section["handlers"] = []
    bundle = root / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    (bundle / "configs" / "train.json").write_text(json.dumps(config))
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata(dims, 1, classes, [SIZE] * dims)))
    return bundle, data


def run(pair: tuple[Path, Path], baseline: str, **options: Any) -> Any:
    bundle, data = pair
    given = {"train#dataloader#batch_size": 3, "train#dataset#data": "@pairs"}
    if baseline in ("saml", "disentangle"):
        given[f"{baseline}_layer"] = LAYER
    if baseline == "saml":
        given["batch_size"] = 3
    if baseline == "mixstyle":
        given |= {"mixstyle_layers": [LAYER], "mixstyle_partner": "any", "mixstyle_probability": 1.0}
    return train(bundle, baseline, data, **{**given, **options})


def is_plain(trainer: Any, dims: int, classes: int) -> bool:
    """Return whether the weights of a trainer's network load into a plain one, and are finite."""
    plain = UNet(dims, 1, classes, channels=[4, 8, 8, 8], strides=[2, 2, 2])
    plain.load_state_dict(trainer.network.state_dict(), strict=True)
    return all(bool(value.isfinite().all()) for value in plain.state_dict().values())


def reached(trainer: Any) -> bool:
    """Return whether the last loss is a positive number, and its gradient has reached the network, finite everywhere."""
    loss = float(trainer.state.output[0]["loss"])
    gradients = [value.grad for value in trainer.network.parameters()]
    is_finite = all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    # a bias before a normalisation has none
    weights = [gradient for gradient in gradients if gradient is not None and gradient.dim() > 1]
    return 0 < loss < float("inf") and is_finite and all(float(gradient.norm()) > 0 for gradient in weights)


@pytest.mark.parametrize(("dims", "classes"), [(2, 3), (3, 2)])
@pytest.mark.parametrize("baseline", [name for name in baseline_names() if name != "saml"])
def test_every_baseline_learns_on_any_bundle(tmp_path, baseline, dims, classes):
    trainer = run(foreign(tmp_path, dims, classes), baseline)
    assert reached(trainer)
    if baseline == "disentangle":
        assert trainer.state.iteration == 4
        assert all(value > 0 for value in trainer.state.loss_terms.values())
    assert is_plain(trainer, dims, classes)
    # labels are moved with their images at most, and stay classes
    values = [batch["label"].unique() for _ in range(4) for batch in trainer.data_loader]
    assert set(torch.cat([torch.as_tensor(value) for value in values]).tolist()) <= set(range(classes))


def test_two_epochs_of_saml_in_2d(tmp_path):
    trainer = run(foreign(tmp_path, 2, 2), "saml")
    # two epochs of two episodes of three images, each cropped twice
    assert trainer.state.iteration == 4
    assert trainer.name == "SAML (re-implemented, first order, UNet)"
    assert {name for name, value in trainer.state.loss_terms.items() if value > 0} == {
        "meta_train", "meta_test", "compactness", "smoothness",
    }  # fmt: skip
    assert is_plain(trainer, 2, 2)
    assert reached(trainer)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize(("dims", "classes", "sigmoid"), [(2, 3, False), (3, 2, False), (2, 2, True)])
def test_saml_says_why_not(tmp_path, dims, classes, sigmoid):
    expected = {
        (2, 3, False): "background and one foreground class, the network has 3 outputs",
        (3, 2, False): f"SAML is defined for 2D images, got image_shape [1, {SIZE}, {SIZE}, {SIZE}]",
        (2, 2, True): "the network's outputs are sigmoid",
    }[dims, classes, sigmoid]
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(foreign(tmp_path, dims, classes, sigmoid=sigmoid), "saml")
    assert expected in messages(caught.value)


@pytest.mark.parametrize("baseline", ["saml", "disentangle"])
def test_a_bundle_that_names_no_layer_or_no_site(tmp_path, baseline):
    pair = foreign(tmp_path, 2, 2)
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(pair, baseline, **{f"{baseline}_layer": None})
    assert "no layer is named; name one under 'distillation_layers'" in messages(caught.value)
    torch.manual_seed(0)
    without = "$[{'image': i, 'label': i.replace('image', 'label')} for i in @images]"
    with pytest.raises((InputError, RuntimeError)) as caught:
        run(pair, baseline, pairs=without)
    assert "names no site; add the entry 'site'" in messages(caught.value)
