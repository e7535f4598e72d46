# SPDX-License-Identifier: Apache-2.0
"""Every recipe on bundles that know nothing of this package: classes of softmax in 2D, and overlapping parts in 3D."""

from __future__ import annotations

import json
import sys
from copy import deepcopy

import monai
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from small_students import nested, unet, write_big, write_student, write_volumes
from zoo_style_tools import metadata

from akd_monai.__main__ import user_error
from akd_monai.bundle import DistillationWorkflow, list_recipes
from akd_monai.errors import InputError

LOW, HIGH = "model.0", "model.1.submodule"
LAYERS = {"low": LOW, "high": HIGH}
CLASSES = 3
# the terms that a recipe adds; all others are those of the method
TERMS = {
    "at": {"attention"},
    "careful": {"logits", "gram", "affinity"},
    "cirkd": {"relations"},
    "cwd": {"channels"},
    "dist": {"correlation"},
    "emkd": {"prediction", "importance_low", "importance_high", "regions_low", "regions_high"},
    "ifvd": {"variation"},
    "mskd-style": {"filter", "graph"},
    "paper": {"logits", "gram", "affinity"},
    "skd": {"pairs", "pixels"},
    "sp": {"similarity"},
    "unlabelled": {"unlabelled"},
}
# needs images without labels, which bundles from elsewhere give by unlabelled_data
SOURCES = "unlabelled"


@pytest.fixture(autouse=True)
def no_seeds_or_modules_are_left(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Both pairs of bundles, by name."""
    return {make.__name__: make(tmp_path_factory.mktemp(make.__name__)) for make in (slices, parts)}


def with_layers(bundle, layers=LAYERS):
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"distillation_layers": layers}))
    return bundle


def parts(root):
    """Write bundles of three overlapping parts in 3D, of sigmoid channels."""
    data = write_volumes(root / "data", parts=CLASSES, count=2)
    wide = nested(data, CLASSES, sigmoid=True, epochs=1)
    narrow = wide | {"network_def": {**unet(CLASSES), "channels": [3, 6]}}
    teacher = write_big(root / "teacher", wide, classes=CLASSES)
    return with_layers(teacher), with_layers(write_student(root / "student", narrow, classes=CLASSES))


def slices(root):
    """Write bundles of three classes by softmax in 2D, with batches of two images."""
    folder = root / "data"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(2):
        label = np.zeros((40, 40, 1), np.uint8)
        label[4:20, 4:20] = 1
        label[22:36, 10 + number : 30] = 2
        np.save(folder / f"image{number}.npy", (label + draw.normal(0, 0.2, label.shape)).astype(np.float32))
        np.save(folder / f"label{number}.npy", label)
    made = []
    for name, channels in (("teacher", [4, 8]), ("student", [3, 6])):
        config = nested(folder, CLASSES, epochs=1)
        section = config["train"]
        section["random_transforms"][0].update(spatial_size=[16, 16])
        section["handlers"] = []
        config["network_def"] = {**unet(CLASSES), "spatial_dims": 2, "channels": channels}
        bundle = write_student(root / name, deepcopy(config), classes=CLASSES)
        (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata(2, 1, CLASSES, [16, 16])))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            definition = {key: value for key, value in config["network_def"].items() if key != "_target_"}
            torch.save(UNet(**definition).state_dict(), bundle / "models" / "model.pt")
        made.append(with_layers(bundle))
    return made


def last_terms(bundles, recipe, **override):
    """Run a training and return, of the last step, each term and the norm of its gradient for the student's parameters."""
    workflow = DistillationWorkflow(*bundles, recipe=recipe, distillation_resume="off", **override)
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    norms = {}
    trainer.distillation.register_forward_hook(lambda _, __, terms: norms.update(gradients(trainer, terms)))
    if trainer.unlabelled is not None:
        term = trainer.unlabelled.term

        def watched(*given):
            terms = term(*given)
            norms.update(gradients(trainer, terms))
            return terms

        trainer.unlabelled.term = watched
    workflow.run()
    workflow.finalize()
    return trainer.state.loss_terms, norms, trainer.state.iteration


def gradients(trainer, terms):
    found = {}
    parameters = list(trainer.network.parameters())
    for name, value in terms.items():
        reached = (
            [] if not value.requires_grad else torch.autograd.grad(value, parameters, None, True, allow_unused=True)
        )
        found[name] = sum(float(one.norm()) for one in reached if one is not None)
    return found


def criterion(bundles, recipe, **override):
    return DistillationWorkflow(*bundles, recipe=recipe, **override).parser.get_parsed_content("distillation")


def test_no_recipe_is_missing_here():
    assert set(TERMS) == set(list_recipes())


@pytest.mark.parametrize("recipe", [name for name in TERMS if name != SOURCES])
@pytest.mark.parametrize("pair", ["slices", "parts"])
def test_two_steps_of_every_recipe(pairs, pair, recipe):
    bundles = pairs[pair]
    if pair == "parts" and recipe == "dist":
        with pytest.raises((InputError, RuntimeError)) as caught:
            last_terms(bundles, recipe)
        assert "DISTLoss correlates the classes of a pixel" in str(user_error(caught.value))
        return
    terms, norms, steps = last_terms(bundles, recipe)
    assert steps == 2
    assert set(terms) == {"task", *TERMS[recipe]}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    assert set(norms) == TERMS[recipe]
    assert all(0 < norm < float("inf") for norm in norms.values())


def test_unlabelled_on_bundles_from_elsewhere(pairs):
    bundles = pairs["slices"]
    images = sorted(str(path) for path in (bundles[0].parent / "data").glob("image*"))
    crop = {"_target_": "RandSpatialCropd", "keys": "image", "roi_size": [16, 16], "random_size": False}
    prepared = json.loads((bundles[1] / "configs" / "train.json").read_text())["train"]["deterministic_transforms"]
    of_image = [{**entry, "keys": "image"} for entry in prepared] + [crop]
    terms, norms, steps = last_terms(
        bundles,
        SOURCES,
        initial_weights=str(bundles[1] / "models" / "model.pt"),
        unlabelled_data=images,
        unlabelled_transform=of_image,
    )
    assert (set(terms), steps) == ({"task", "unlabelled"}, 2)
    assert terms["unlabelled"] > 0
    assert norms["unlabelled"] > 0
    with pytest.raises((InputError, RuntimeError)) as caught:
        last_terms(bundles, SOURCES, initial_weights="null")
    assert "unlabelled_batch_size is 8, but there is no unlabelled image" in str(user_error(caught.value))


@pytest.fixture
def without_layers(pairs):
    """The pair in 3D, whose metadata name no layers for the time of a test."""
    bundles = pairs["parts"]
    for bundle in bundles:
        with_layers(bundle, {})
    yield bundles
    for bundle in bundles:
        with_layers(bundle)


@pytest.mark.parametrize("recipe", ["at", "cirkd", "emkd", "ifvd", "mskd-style", "skd", "sp"])
def test_bundles_that_name_no_layers_are_refused(without_layers, recipe):
    bundles = without_layers
    with pytest.raises((InputError, RuntimeError)) as caught:
        criterion(bundles, recipe)
    message = str(user_error(caught.value))
    assert "unknown layer 'high' under 'distillation_layers' in configs/metadata.json of bundle" in message
    assert "Give the module path yourself, with student_layer or teacher_layer" in message


def test_layers_may_be_given_by_flags(without_layers):
    flags = {
        f"{who}_{layer}": path
        for who in ("student", "teacher")
        for layer, path in (("layer", HIGH), ("low_layer", LOW))
    }
    found = criterion(without_layers, "emkd", **flags)
    assert (found.student_layers, found.teacher_layers) == ([LOW, HIGH], [LOW, HIGH])


@pytest.mark.parametrize("recipe", ["paper", "careful", "cwd"])
def test_recipes_without_features_need_no_layers(without_layers, recipe):
    assert {term.name for term in criterion(without_layers, recipe).active} == TERMS[recipe] - {"gram"}
