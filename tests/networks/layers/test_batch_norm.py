# SPDX-License-Identifier: Apache-2.0
"""Batch normalization against the formula in NumPy and against PyTorch's."""

from __future__ import annotations

import copy
import importlib
import io

import numpy as np
import pytest
import torch
from torch import nn

from akd_monai.networks.layers import VectorizedBatchNorm2d, VectorizedPReLU
from akd_monai.networks.nets import ENet, ERFNet, ESPNet

SHAPE = (3, 4, 5, 7)


def draw(dtype=torch.float64, shape=SHAPE, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(2.0, 3.0, shape)).to(dtype)


def pair(dtype, **arguments):
    """Return this module and PyTorch's with the same random weights."""
    torch.manual_seed(0)
    theirs = nn.BatchNorm2d(SHAPE[1], **arguments).to(dtype)
    for value in theirs.parameters():
        nn.init.normal_(value)
    ours = VectorizedBatchNorm2d(SHAPE[1], **arguments).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def is_ours(y):
    return y.grad_fn.name() == "_BatchNormBackward"


def test_output_and_statistics_follow_the_formula():
    module, _ = pair(torch.float64, eps=1e-3, momentum=0.3)
    gamma, beta = (value.detach().numpy() for value in (module.weight, module.bias))
    mean, var = np.zeros(4), np.ones(4)
    for seed in range(3):
        x = draw(seed=seed)
        y = module(x)
        a = x.numpy()
        mu, sigma2 = a.mean((0, 2, 3)), a.var((0, 2, 3))
        scaled = (a - mu.reshape(-1, 1, 1)) / np.sqrt(sigma2 + 1e-3).reshape(-1, 1, 1)
        np.testing.assert_allclose(y.detach(), scaled * gamma.reshape(-1, 1, 1) + beta.reshape(-1, 1, 1), atol=1e-12)
        mean = 0.7 * mean + 0.3 * mu
        var = 0.7 * var + 0.3 * a.var((0, 2, 3), ddof=1)
        np.testing.assert_allclose(module.running_mean, mean, rtol=1e-13)
        np.testing.assert_allclose(module.running_var, var, rtol=1e-13)
    assert is_ours(y)
    assert module.num_batches_tracked == 3


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_statistics_are_as_exact_as_pytorchs_in_float32(offset):
    module = VectorizedBatchNorm2d(4, momentum=1.0)
    x = (draw(shape=(4, 4, 96, 80)) + offset).float()
    module(x)
    exact = x.double()
    np.testing.assert_allclose(module.running_mean, exact.mean((0, 2, 3)), rtol=3e-7)
    np.testing.assert_allclose(module.running_var, exact.var((0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("shape", [SHAPE, (2, 4, 64, 96), (1, 4, 1, 2)])
def test_equals_pytorch_in_float32(shape):
    found = []
    for module in pair(torch.float32):
        leaf = draw(torch.float32, shape).requires_grad_()
        y = module(leaf)
        y.backward(draw(torch.float32, shape, seed=1))
        found.append([y.detach(), leaf.grad, *(p.grad for p in module.parameters()), *module.buffers()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_first_and_second_derivatives_are_slopes():
    module = VectorizedBatchNorm2d(4).double()

    def call(x, weight, bias):
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (x,))

    values = [v.requires_grad_() for v in (draw(shape=(2, 4, 2, 3)), *draw(shape=(2, 4)).unbind())]
    assert is_ours(call(*values))
    assert torch.autograd.gradcheck(call, values)
    assert torch.autograd.gradgradcheck(call, values)


@pytest.mark.parametrize("frozen", ["weights", "image"])
def test_some_of_the_gradients(frozen):
    module, x = VectorizedBatchNorm2d(4), draw(torch.float32)
    if frozen == "weights":
        module.requires_grad_(False)
        x.requires_grad_()
    module(x).square().sum().backward()
    assert (x.grad is None) == (frozen == "image")
    assert (module.weight.grad is None) == (frozen == "weights")


@pytest.mark.parametrize(
    "arguments", [{"momentum": None}, {"track_running_stats": False}, {"affine": False}], ids=lambda a: next(iter(a))
)
def test_what_pytorch_has_to_do_itself(arguments):
    ours, theirs = pair(torch.float32, **arguments)
    for seed in range(2):
        x = draw(torch.float32, seed=seed).requires_grad_()
        y = ours(x)
        assert not is_ours(y)
        assert torch.equal(y, theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_evaluation_other_formats_and_half_precision_are_pytorchs():
    ours, theirs = pair(torch.float32)
    x = draw(torch.float32)
    turned = x.contiguous(memory_format=torch.channels_last)
    assert not is_ours(ours(turned))
    assert torch.equal(ours(turned), theirs(turned))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(x.bfloat16()).dtype == torch.bfloat16
    with torch.no_grad():
        assert ours(x).grad_fn is None
    assert not is_ours(ours.eval()(x))


def test_what_cannot_be_normalised_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        VectorizedBatchNorm2d(4)(torch.zeros(1, 4, 1, 1))
    with pytest.raises(ValueError, match="expected 4D input"):
        VectorizedBatchNorm2d(4)(torch.zeros(2, 4, 3))
    with pytest.raises(RuntimeError, match="running_mean should contain 3 elements not 4"):
        VectorizedBatchNorm2d(4)(torch.zeros(2, 3, 2, 2))


def test_graphs_hold_the_operator_of_pytorch():
    module, x = VectorizedBatchNorm2d(4), draw(torch.float32)
    scripted = torch.jit.script(module)
    assert "batch_norm" in str(scripted.inlined_graph)
    torch.testing.assert_close(scripted(x), nn.BatchNorm2d(4)(x))
    assert scripted.num_batches_tracked == 1
    assert type(module) is VectorizedBatchNorm2d
    assert is_ours(module(x))
    assert "batch_norm" in str(torch.jit.trace(module, x).inlined_graph)
    assert "batch_norm" in torch.export.export(copy.deepcopy(module).eval(), (x,)).graph_module.code
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), nn.BatchNorm2d(4)(x))


def test_a_scripted_network_gives_the_same_and_so_does_the_network_afterwards():
    # In float64: few values a channel and a hundred layers make much of a rounding.
    network, image = ENet(2, 1, 2, dropout=0.0).double(), torch.randn(2, 1, 16, 16, dtype=torch.float64)
    names, other = list(network.state_dict()), copy.deepcopy(network)
    scripted = torch.jit.script(network)
    assert list(scripted.state_dict()) == list(network.state_dict()) == names
    expected = other(image)
    for form in (network, scripted):  # PyTorch's module stands in this one's place now, with the same tensors
        form.load_state_dict(copy.deepcopy(other.state_dict()))
        torch.testing.assert_close(form(image), expected, rtol=1e-8, atol=1e-8)
    assert torch.equal(scripted.eval()(image), network.eval()(image))


def test_survives_copies_and_files():
    module, x = VectorizedBatchNorm2d(4), draw(torch.float32)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert is_ours(other(x))
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(module), nn.SyncBatchNorm)


@pytest.mark.parametrize("network", [ENet, ERFNet, ESPNet], ids=lambda n: n.__name__)
def test_a_light_network_has_no_other(network):
    kinds = [type(m) for m in network(2, 1, 2).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert kinds
    assert set(kinds) == {VectorizedBatchNorm2d}


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("akd_monai.networks.layers", "BatchNorm2d", VectorizedBatchNorm2d),
        ("akd_monai.networks.layers", "PReLU", VectorizedPReLU),
        ("akd_monai.networks.nets.batchnorm", "BatchNorm2d", VectorizedBatchNorm2d),
        ("akd_monai.networks.nets.prelu", "PReLU", VectorizedPReLU),
    ],
)
def test_former_names_lead_to_the_new_ones(module, old, new):
    assert getattr(importlib.import_module(module), old) is new
