# SPDX-License-Identifier: Apache-2.0
"""The content and style split: terms by hand, what the gradient reaches, statistics, and a plain training without it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from site_tools import build, images, plain_network
from torch import nn
from torch.nn import functional as F

from akd_monai.generalisation import DisentangleTrainer, SiteSampler
from akd_monai.generalisation._style import ContentStyleNetwork, content_of

TWO = images(("BMC", "HK"), each=1)
NONE = {"lambda_reconstruction": 0.0, "lambda_content": 0.0, "lambda_style": 0.0}


class Plain(nn.Module):
    """A split that can be worked out by hand: the style is the mean, which weighs the content in the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def style(self, image):
        return self.factor * image.mean((2, 3))

    def decode(self, content, style, size):
        assert content.shape[2:] == tuple(size)
        return content.abs() + style[..., None, None] * (content + 1)


def one_step(network: nn.Module, options: dict, split: nn.Module, **more) -> DisentangleTrainer:
    batches = DataLoader(TWO, batch_size=2)
    trainer = build(
        DisentangleTrainer, network, train_data_loader=batches, options=options, loss_function=lambda p, _: p.sum() * 0,
        **more,
    )  # fmt: skip
    trainer.split = split
    return trainer


def normalised(maps: np.ndarray) -> np.ndarray:
    mean = maps.mean((2, 3), keepdims=True)
    return (maps - mean) / np.sqrt(maps.var((2, 3), keepdims=True) + 1e-5)


def test_terms_by_hand():
    # a layer that multiplies by 2: content is that of the image; with two images each is the other's partner
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    nn.init.constant_(network[0].weight, 2.0)
    weights = {"lambda_reconstruction": 0.5, "lambda_content": 3.0, "lambda_style": 2.0}
    trainer = one_step(network, weights, Plain())
    trainer.run()
    x = torch.stack([entry["image"] for entry in TWO.data]).double().numpy()
    content = normalised(2 * x)
    mean = x.mean((2, 3), keepdims=True)
    rebuilt = np.abs(content) + mean * (content + 1)
    swapped = np.abs(content) + mean[::-1] * (content + 1)
    expected = {
        "reconstruction": 0.5 * np.abs(rebuilt - x).mean(),
        "content": 3 * np.abs(normalised(2 * swapped) - content).mean(),
        "style": 2 * np.abs(swapped.mean((2, 3)) - mean[::-1, :, 0, 0]).mean(),
    }
    found = {name: value.item() for name, value in trainer.state.loss_terms.items()}
    assert found == pytest.approx({"task": 0.0, **expected}, rel=1e-5)
    assert trainer.state.output[0]["loss"] == pytest.approx(sum(expected.values()), rel=1e-5)
    # the style of the image itself in place of its partner's would be noticed
    assert np.abs(normalised(2 * rebuilt) - content).mean() != pytest.approx(expected["content"] / 3, rel=1e-2)


class Fixed(Plain):
    """A decoder that returns the same images, whatever the content."""

    def decode(self, content, style, size):
        return torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8).sin() + 0 * style[..., None, None]


@pytest.mark.parametrize("is_stopped", [True, False], ids=["as it is", "without the stop"])
def test_gradient_of_the_content_goes_through_the_swapped_image_alone(is_stopped):
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1))
    torch.manual_seed(0)
    nn.init.normal_(network[0].weight)
    before = network[0].weight.detach().clone()
    one_step(network, {**NONE, "lambda_content": 1.0}, Fixed()).run()
    kernel = before.double().requires_grad_()
    x = torch.stack([entry["image"] for entry in TWO.data]).double()
    bias = network[0].bias.detach().double()
    fixed = torch.linspace(-1, 1, 128, dtype=torch.float64).reshape(2, 1, 8, 8).sin()
    content = content_of(F.conv2d(x, kernel, bias, padding=1))
    target = content.detach() if is_stopped else content
    (content_of(F.conv2d(fixed, kernel, bias, padding=1)) - target).abs().mean().backward()
    difference = (network[0].weight.double() - (before.double() - 0.5 * kernel.grad)).abs().max().item()
    assert (difference < 1e-6) is is_stopped


def test_gradient_of_the_style_goes_through_the_swapped_image_alone():
    # s = f m, and the mean of the swapped image is A + f m' B, with A of |c| and B of c + 1; at f = 1 the derivative of
    # f (A + f m' B) - sg(f m') is A + 2 m' B, and that without the stop A + 2 m' B - m'
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    nn.init.constant_(network[0].weight, 2.0)
    trainer = one_step(network, {**NONE, "lambda_style": 1.0}, Plain())
    trainer.run()
    x = torch.stack([entry["image"] for entry in TWO.data]).double().numpy()
    content = normalised(2 * x)
    other = x.mean((1, 2, 3))[::-1]
    derivative = np.abs(content).mean((1, 2, 3)) + 2 * other * (content + 1).mean((1, 2, 3))
    assert trainer.split.factor.grad.item() == pytest.approx(derivative.mean(), rel=1e-5)


def test_decoder_sets_scale_and_shift_of_normalised_channels():
    torch.manual_seed(0)
    network = ContentStyleNetwork(2, 1, 3, 4).double()
    network.coarse = nn.Identity()
    network.fine = nn.Identity()
    content = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    style = torch.randn(2, 4, dtype=torch.float64)
    found = network.decode(content, style, (10, 14))
    weight = network.from_content.conv.weight[:, :, 0, 0].detach().numpy()
    maps = np.einsum("kc,bchw->bkhw", weight, content.numpy())
    maps += network.from_content.conv.bias.detach().numpy()[:, None, None]
    both = style.numpy() @ network.to_scale.weight.detach().numpy().T + network.to_scale.bias.detach().numpy()
    scale, shift = both[:, :32, None, None], both[:, 32:, None, None]
    expected = np.maximum(normalised(maps) * (1 + scale) + shift, 0).repeat(2, 2).repeat(2, 3)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [(9, 7), (8, 6, 5)], ids=["2D", "3D"])
def test_split_of_images_of_any_size(size):
    network = ContentStyleNetwork(len(size), 2, 6, 8)
    style = network.style(torch.rand(3, 2, *size))
    assert style.shape == (3, 8)
    small = [max(1, side // 4) for side in size]
    assert network.decode(torch.rand(3, 6, *small), style, size).shape == (3, 2, *size)


def test_content_does_not_depend_on_gain_or_offset():
    maps = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gain = torch.tensor([2.0, 0.5, 30.0]).reshape(3, 1, 1)
    torch.testing.assert_close(content_of(gain * maps + 7), content_of(maps), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(content_of(maps).numpy(), normalised(maps.numpy()), rtol=1e-10)


def test_every_partner_is_of_another_site_and_each_is_drawn():
    trainer = build(DisentangleTrainer, plain_network())
    trainer._batch_sites = ["A", "A", "B", "C"]
    torch.manual_seed(0)
    drawn = torch.stack([trainer._partners() for _ in range(200)])
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[2, 3], [2, 3], [0, 1, 3], [0, 1, 2]]


def test_images_in_another_style_do_not_update_running_statistics():
    network = plain_network()
    first = copy.deepcopy(network[0])
    trainer = build(DisentangleTrainer, network, loss_function=lambda p, _: p.square().mean())
    trainer.run()
    assert {"reconstruction", "content", "style"} < trainer.state.loss_terms.keys()
    sampler = SiteSampler(images(), batch_size=6)
    sampler.epoch = 1
    batch = torch.stack([images()[index]["image"] for index in sampler])
    maps = first(batch).detach().numpy()
    assert network[1].num_batches_tracked == 1
    np.testing.assert_allclose(network[1].running_mean.numpy(), 0.1 * maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_encoder_and_decoder_learn_and_are_no_part_of_the_student():
    network = plain_network()
    trainer = build(DisentangleTrainer, network, loss_function=lambda p, _: p.square().mean())
    before = copy.deepcopy(trainer.split.state_dict())
    trainer.run()
    after = trainer.split.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert network.state_dict().keys() == plain_network().state_dict().keys()
    step = (after["to_style.bias"] - before["to_style.bias"]).abs()
    # the first step of Adam has the size of its rate
    torch.testing.assert_close(step, torch.full_like(step, 1e-3), rtol=1e-2, atol=0)


def dropping() -> nn.Module:
    return nn.Sequential(*plain_network()[:3], nn.Dropout(0.5), nn.Conv2d(3, 2, 1))


def cross_entropy(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(prediction, label[:, 0].long())


def weights_after(kind: type, **options) -> dict[str, torch.Tensor]:
    """Return a network's state after 3 epochs of batches in the order of the data."""
    torch.manual_seed(0)
    network = dropping()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    batches = DataLoader(images(), batch_size=3)
    torch.manual_seed(1)
    kind(
        device="cpu", max_epochs=3, train_data_loader=batches, network=network, optimizer=optimizer,
        loss_function=cross_entropy, **options,
    ).run()  # fmt: skip
    return network.state_dict()


def test_without_weights_it_is_a_plain_training():
    expected = weights_after(SupervisedTrainer)
    split = {"layer": "0", "image_shape": (1, 8, 8)}
    found = weights_after(DisentangleTrainer, options=NONE, **split)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    other = weights_after(DisentangleTrainer, **split)
    assert not torch.equal(other["0.weight"], expected["0.weight"])


def test_volumes_of_several_classes_and_sites_named_by_the_data():
    dataset = Dataset([{"image": torch.rand(2, 8, 8, 8), "site": site} for site in ("A", "B", "A", "B")])
    network = nn.Sequential(nn.Conv3d(2, 4, 3, stride=2, padding=1), nn.Conv3d(4, 5, 1))
    sampler = SiteSampler(dataset, batch_size=4, sites_per_batch=2)
    trainer = build(
        DisentangleTrainer, network, image_shape=(2, 8, 8, 8), loss_function=lambda p, _: p.square().mean(),
        train_data_loader=DataLoader(dataset, batch_size=4, sampler=sampler),
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["image"]),
    )  # fmt: skip
    trainer.run()
    assert all(value > 0 for value in trainer.state.loss_terms.values())
