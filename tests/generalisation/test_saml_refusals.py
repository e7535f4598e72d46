# SPDX-License-Identifier: Apache-2.0
"""What the trainers of several sites do not take, in one line each."""

from __future__ import annotations

import re

import pytest
import torch
from monai.data import DataLoader, Dataset
from site_tools import SITES, build, images, plain_network
from torch import nn

from akd_monai.engines import distillation_trainer
from akd_monai.errors import InputError, UnknownNameError
from akd_monai.generalisation import (
    DisentangleOptions,
    DisentangleTrainer,
    SamlOptions,
    SamlTrainer,
    SiteSampler,
    saml_name,
)
from akd_monai.losses import DistillationCriterion
from akd_monai.networks.nets import ENet

BOTH = [SamlTrainer, DisentangleTrainer]
TWO_SITES = images(SITES[:2])
ONE_SITE = images(SITES[:1], each=6)


def loader(dataset: Dataset) -> DataLoader:
    return DataLoader(dataset, batch_size=4)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SamlTrainer, {"train_data_loader": loader(TWO_SITES)}, "SAML needs training cases of at least 3 sites, got 2"),
        (DisentangleTrainer, {"train_data_loader": loader(ONE_SITE)}, "disentangle needs .* at least 2 sites, got 1"),
        (SamlTrainer, {"image_shape": (1, 8, 8, 8)}, "SAML is defined for 2D images, got image_shape [1, 8, 8, 8]"),
        (DisentangleTrainer, {"image_shape": (1, 8)}, "disentangle is defined for 2D and 3D images, got"),
        (SamlTrainer, {"activation": "sigmoid"}, "one foreground class, the network's outputs are sigmoid"),
        *[(kind, {"layer": None}, "no layer is named; name one under 'distillation_layers'") for kind in BOTH],
        *[(kind, {"accumulation_steps": 2}, "steps after every batch; set accumulation_steps to 1") for kind in BOTH],
        *[(kind, {"options": {"margen": 1}}, "unknown entry 'margen' of options") for kind in BOTH],
    ],
)
def test_refused_before_anything_is_trained(kind, options, message):
    with pytest.raises(InputError, match=re.sub(r"([\[\]])", r"\\\1", message)):
        build(kind, plain_network(), **options)


@pytest.mark.parametrize("kind", BOTH)
def test_a_layer_that_does_not_exist(kind):
    with pytest.raises(UnknownNameError, match="unknown layer '9' in Sequential"):
        build(kind, plain_network(), layer="9")


@pytest.mark.parametrize("kind", BOTH)
def test_a_layer_that_is_no_map(kind):
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Unflatten(1, (2, 8, 8)))
    with pytest.raises(InputError, match=r"needs a map \[B, C, \*spatial\], layer '1' gives \[1, 128\]"):
        build(kind, network, layer="1")


@pytest.mark.parametrize("kind", BOTH)
def test_a_teacher_at_the_same_time(kind):
    criterion = DistillationCriterion([{"name": "logits", "loss": "logits"}])
    mixed = distillation_trainer(kind)
    with pytest.raises(InputError, match="cannot be distilled at the same time; train it alone"):
        build(mixed, plain_network(), teacher=plain_network(), distillation=criterion)


@pytest.mark.parametrize("outputs", [1, 3])
def test_saml_of_other_than_two_classes(outputs):
    with pytest.raises(InputError, match=f"background and one foreground class, the network has {outputs} outputs"):
        build(SamlTrainer, plain_network(outputs), loss_function=lambda p, _: p.mean()).run()


def test_an_episode_of_two_sites():
    sampler = SiteSampler(images(), batch_size=6, sites_per_batch=2)
    two = DataLoader(images(), batch_size=6, sampler=sampler)
    with pytest.raises(InputError, match=r"SAML needs batches of 3 sites, got 2 .*SiteSampler with sites_per_batch 3"):
        build(SamlTrainer, plain_network(), train_data_loader=two).run()


def test_a_batch_of_one_site():
    batches = DataLoader(images(each=3), batch_size=3)
    with pytest.raises(InputError, match="disentangle needs batches of at least two sites, got BMC alone"):
        build(DisentangleTrainer, plain_network(1), train_data_loader=batches).run()


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SamlOptions, {"inner_learning_rate": 0}, "inner_learning_rate must be a finite number above 0"),
        (SamlOptions, {"lambda_smoothness": -1}, "lambda_smoothness must be a finite number of at least 0"),
        (SamlOptions, {"margin": float("nan")}, "margin must be a finite number above 0"),
        (DisentangleOptions, {"lambda_content": -0.1}, "lambda_content must be a finite number of at least 0"),
        (DisentangleOptions, {"style_size": 0}, "style_size must be an integer of at least 1, got 0"),
        (DisentangleOptions, {"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
    ],
)
def test_numbers_out_of_their_range(kind, values, message):
    with pytest.raises(InputError, match=message):
        kind(**values)


def test_the_name_says_what_it_is():
    assert saml_name(nn.DataParallel(ENet(2, 1, 2))) == "SAML (re-implemented, first order, ENet)"
    assert build(SamlTrainer, plain_network()).name == "SAML (re-implemented, first order, Sequential)"


def test_initial_weights_of_companions_are_those_of_the_seed_and_nothing_else_is_drawn():
    states = []
    for before in (1, 2):
        torch.manual_seed(before)
        expected = torch.get_rng_state()
        trainer = build(SamlTrainer, plain_network(), initial_seed=7)
        assert torch.equal(torch.get_rng_state(), expected)
        states.append(trainer.companions.network[0].weight)
    assert torch.equal(*states)
    assert not torch.equal(states[0], build(SamlTrainer, plain_network(), initial_seed=8).companions.network[0].weight)
