# SPDX-License-Identifier: Apache-2.0
"""One episode of a linear network by hand: inner step, first-order meta gradient, clipping, both optimizers, statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from site_tools import build, images, plain_network
from torch import nn

from akd_monai.errors import InputError
from akd_monai.generalisation import DisentangleTrainer, SamlTrainer, SiteSampler
from akd_monai.generalisation._episode import metric_network
from akd_monai.generalisation._shape import background_ring, contour
from akd_monai.generalisation._shape import triplet_semihard as triplets

ALPHA = 0.05
RATE = 0.5
FIRST = {"lambda_compactness": 0.0, "lambda_smoothness": 0.0, "inner_learning_rate": ALPHA}


class Linear(nn.Module):
    """Logits w x + b for each class, a network whose gradients are known."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Conv2d(1, 2, 1, bias=False)
        with torch.no_grad():
            self.scale.weight.copy_(torch.tensor([0.3, 0.8]).reshape(2, 1, 1, 1))

    def forward(self, x):
        return self.scale(x)


def squared(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return (prediction[:, 1:] - prediction[:, :1] - label).square().mean()


def episode(dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images and labels of the sites of the first batch, in its order, in float64."""
    sampler = SiteSampler(dataset, batch_size=6)
    sampler.epoch = 1
    order = list(sampler)[:6]
    pairs = []
    for place in range(3):
        entries = [dataset[index] for index in order[2 * place : 2 * place + 2]]
        stacked = [torch.stack([entry[key] for entry in entries]).double().numpy() for key in ("image", "label")]
        pairs.append(tuple(stacked))
    return pairs


def slope(u: float, x: np.ndarray, y: np.ndarray) -> float:
    return float((2 * (u * x - y) * x).mean())


def expected(largest: float = 10.0, *, sign: float = -1.0, order: int = 1) -> np.ndarray:
    """Return the weights after one episode, worked out with u = w1 - w0, the only combination that counts."""
    first, second, test = episode(images())
    w = np.array([0.3, 0.8], np.float32).astype(float)
    u = w[1] - w[0]
    train = (slope(u, *first) + slope(u, *second)) / 2
    gradient = np.array([-train, train])
    shorter = gradient * min(1.0, largest / np.linalg.norm(gradient))
    stepped = w + sign * ALPHA * shorter
    meta = slope(stepped[1] - stepped[0], *test)
    if order == 2:
        # d u' / d u = 1 - 2 alpha d train / d u, without clipping
        meta *= 1 - 2 * ALPHA * float((2 * first[0] ** 2).mean() + (2 * second[0] ** 2).mean()) / 2
    outer = np.array([-meta, meta])
    outer *= min(1.0, largest / np.linalg.norm(outer))
    # the first step of Adam has the size of its rate
    own = ALPHA * gradient / (np.abs(gradient) + 1e-8)
    return w - RATE * outer - own


def after_one_episode(**options) -> np.ndarray:
    network = Linear()
    trainer = build(SamlTrainer, network, layer="scale", loss_function=squared, options={**FIRST, **options})
    trainer.run()
    return network.scale.weight.detach().flatten().double().numpy()


def test_weights_after_one_episode_by_hand():
    np.testing.assert_allclose(after_one_episode(), expected(), rtol=1e-5)


def test_weights_with_clipped_gradients_by_hand():
    clipped = after_one_episode(gradient_clip=0.4)
    np.testing.assert_allclose(clipped, expected(0.4), rtol=1e-5)
    assert np.abs(clipped - expected()).max() > 1e-2


@pytest.mark.parametrize("fault", [{"sign": 1.0}, {"order": 2}], ids=["ascent", "second order"])
def test_another_step_would_be_noticed(fault):
    assert np.abs(expected(**fault) - expected()).max() > 1e-2


@pytest.mark.parametrize("largest", [10.0, 0.4], ids=["as it is", "clipped"])
def test_terms_of_an_episode_by_hand(largest):
    network = Linear()
    options = {**FIRST, "gradient_clip": largest}
    trainer = build(SamlTrainer, network, layer="scale", loss_function=squared, options=options)
    trainer.run()
    first, second, test = episode(images())
    loss = lambda u, x, y: float(((u * x - y) ** 2).mean())  # noqa: E731
    train = (slope(0.5, *first) + slope(0.5, *second)) / 2
    shorter = train * min(1.0, largest / (abs(train) * np.sqrt(2)))
    terms = trainer.state.loss_terms
    assert terms["meta_train"].item() == pytest.approx((loss(0.5, *first) + loss(0.5, *second)) / 2, rel=1e-5)
    assert terms["meta_test"].item() == pytest.approx(loss(0.5 - 2 * ALPHA * shorter, *test), rel=1e-5)
    assert trainer.state.output[0]["loss"] == pytest.approx(terms["meta_test"].item())
    # the optimizer of the meta-train loss has seen its gradient, not clipped, and nothing of the meta gradient
    (state,) = trainer._train_optimizer.state.values()
    np.testing.assert_allclose(state["exp_avg"].flatten(), 0.1 * np.array([-train, train]), rtol=1e-5)


def test_running_statistics_are_updated_once_by_each_site_on_its_own():
    network = plain_network()
    initial = [p.detach().clone() for p in network[0].parameters()]
    # with a tiny inner step the parameters of the third pass are those of the first two
    tiny = {"inner_learning_rate": 1e-12, "lambda_smoothness": 1.0}
    build(SamlTrainer, network, loss_function=squared, options=tiny).run()
    mean = np.zeros(3)
    variance = np.ones(3)
    for image, _ in episode(images()):
        maps = nn.functional.conv2d(torch.from_numpy(image), *(p.double() for p in initial), padding=1).numpy()
        mean = 0.9 * mean + 0.1 * maps.mean((0, 2, 3))
        variance = 0.9 * variance + 0.1 * maps.var((0, 2, 3), ddof=1)
    assert network[1].num_batches_tracked == 3
    np.testing.assert_allclose(network[1].running_mean.numpy(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(network[1].running_var.numpy(), variance, rtol=1e-4)


@pytest.mark.parametrize("rate", [1e-12, ALPHA])
def test_smoothness_is_the_triplet_loss_of_five_embeddings_after_the_inner_step(rate):
    network = Linear()
    given = {"inner_learning_rate": rate, "lambda_compactness": 0.0, "lambda_smoothness": 0.25}
    trainer = build(SamlTrainer, network, layer="scale", loss_function=squared, options=given, initial_seed=3)
    metric = {name: value.clone() for name, value in trainer.companions.network.state_dict().items()}
    trainer.run()
    means = []
    first, second, test = episode(images())
    step = rate * (slope(0.5, *first) + slope(0.5, *second)) / 2
    scales = np.float32(0.3) + step, np.float32(0.8) - step
    chosen = [(first, 0, 1), (first, 1, 0), (second, 0, 1), (test, 0, 1), (test, 1, 0)]
    for (image, label), number, kind in chosen:
        mask = torch.from_numpy(label[number])
        region = (contour(mask) if kind else background_ring(mask))[0].numpy()
        mean = (image[number, 0] * region).sum() / region.sum()
        means.append([scale * mean for scale in scales])
    embed = metric_network(2)
    embed.load_state_dict(metric)
    embeddings = embed.double()(torch.tensor(np.array(means, dtype=float)))
    value = triplets(embeddings, torch.tensor([1, 0, 1, 1, 0]), 10.0)
    assert trainer.state.loss_terms["smoothness"].item() == pytest.approx(0.25 * value.item(), rel=1e-5)
    # its own Adam has stepped once along the gradient of the weighted term
    (0.25 * value).backward()
    gradient = embed[0].weight.grad
    step = 1e-3 * gradient / (gradient.abs() + 1e-8)
    moved = trainer.companions.network[0].weight.detach().double()
    torch.testing.assert_close(moved, metric["0.weight"].double() - step, rtol=1e-4, atol=1e-6)


def test_without_any_foreground_an_episode_is_still_one():
    network = Linear()
    options = {"inner_learning_rate": ALPHA}
    trainer = build(SamlTrainer, network, images(empty=True), layer="scale", loss_function=squared, options=options)
    before = {name: value.clone() for name, value in trainer.companions.network.state_dict().items()}
    trainer.run()
    terms = trainer.state.loss_terms
    assert terms["compactness"] == terms["smoothness"] == 0
    assert terms["meta_test"] > 0
    after = trainer.companions.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def scaled(kind: type, scale: float | None) -> tuple[nn.Module, Any]:
    """Return a network after one step, with its loss scaled as mixed precision does, and its trainer."""
    network = plain_network()
    trainer = build(
        kind, network, loss_function=lambda p, y: 50 * (p[:, 1:] - y).square().mean(), amp=scale is not None
    )
    if scale is not None:
        scaler = torch.GradScaler("cpu", init_scale=scale)
        # MONAI makes one for a GPU when the run begins
        trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "scaler", scaler))
    torch.manual_seed(0)
    trainer.run()
    return network, trainer


@pytest.mark.parametrize("kind", [SamlTrainer, DisentangleTrainer])
def test_a_scaled_loss_gives_the_same_step(kind):
    expected, _ = scaled(kind, None)
    # a power of two leaves every digit
    found, trainer = scaled(kind, 1024.0)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-6, atol=1e-7)
    assert trainer.scaler.get_scale() == 1024.0


@pytest.mark.parametrize("kind", [SamlTrainer, DisentangleTrainer])
def test_after_an_overflow_nothing_is_stepped_and_the_scale_is_lowered(kind):
    found, trainer = scaled(kind, 3e38)
    initial = dict(plain_network().named_parameters())
    assert all(torch.equal(value, initial[name]) for name, value in found.named_parameters())
    assert trainer.scaler.get_scale() == pytest.approx(1.5e38)
    assert trainer.companions.run_state()["optimizer"]["state"] == {}


def test_a_checkpoint_without_the_companions_is_refused():
    trainer = build(SamlTrainer, plain_network())
    with pytest.raises(InputError, match="does not hold the auxiliary networks of this training; resume with"):
        trainer.companions.start_run({})
    state = trainer.companions.run_state()
    assert state.keys() == {"network", "optimizer", "meta_train_optimizer"}
    trainer.companions.start_run(state)
