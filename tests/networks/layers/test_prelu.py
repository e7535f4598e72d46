# SPDX-License-Identifier: Apache-2.0
"""PReLU against the formula in NumPy and against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from akd_monai.networks.layers.prelu import VectorizedPReLU, _PReLU
from akd_monai.networks.nets import ENet, ESPNet

every_shape = pytest.mark.parametrize(
    ("shape", "slopes"),
    [((3, 4), 1), ((3, 4), 4), ((2, 3, 5), 3), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), 3), ((1, 2, 3, 2, 2), 2)],
)


def case(shape, slopes):
    rng = np.random.default_rng(0)
    x, slope, grad = rng.normal(size=shape), rng.normal(size=slopes), rng.normal(size=shape)
    x.flat[::5] = 0  # where the slope holds
    return x, slope, grad


@every_shape
def test_output_and_gradients_follow_the_formula(shape, slopes):
    x, slope, grad = case(shape, slopes)
    module, leaf = VectorizedPReLU(slopes).double(), torch.tensor(x, requires_grad=True)
    module.weight.data = torch.tensor(slope)
    y = module(leaf)
    y.backward(torch.tensor(grad))
    wide = np.broadcast_to(slope.reshape(1, -1, *[1] * (len(shape) - 2)), shape)
    np.testing.assert_allclose(y.detach(), np.where(x > 0, x, wide * x), rtol=1e-15)
    np.testing.assert_allclose(leaf.grad, np.where(x > 0, grad, wide * grad), rtol=1e-15)
    each = (grad * np.minimum(x, 0)).sum(axis=tuple(a for a in range(len(shape)) if a != 1))
    np.testing.assert_allclose(module.weight.grad, each if slopes > 1 else [each.sum()], rtol=1e-12)


@every_shape
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, "channels_last"])
def test_equals_pytorch_in_float32(shape, slopes, memory_format):
    x, slope, grad = (torch.tensor(a, dtype=torch.float32) for a in case(shape, slopes))
    if memory_format == "channels_last":
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    found = []
    for kind in (VectorizedPReLU, nn.PReLU):
        module, leaf = kind(slopes), x.clone().requires_grad_()
        module.weight.data = slope.clone()
        y = module(leaf)
        y.backward(grad)
        found.append((y.detach(), leaf.grad, module.weight.grad))
    for ours, theirs in zip(found[0][:2], found[1][:2], strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slopes", [1, 3])
def test_first_and_second_derivatives_are_slopes(slopes):
    x = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    slope = torch.linspace(0.1, 0.4, slopes, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(_PReLU.apply, (x, slope))
    assert torch.autograd.gradgradcheck(_PReLU.apply, (x, slope))


@pytest.mark.parametrize("frozen", ["slope", "image"])
def test_one_of_the_two_gradients(frozen):
    x, module = torch.randn(2, 3, 4), VectorizedPReLU(3)
    if frozen == "slope":
        module.requires_grad_(False)
        x.requires_grad_()
    module(x).sum().backward()
    assert (x.grad is None) == (frozen == "image")
    assert (module.weight.grad is None) == (frozen == "slope")


def test_serves_without_gradients_in_half_precision_and_under_autocast():
    module, x = VectorizedPReLU(3), torch.randn(2, 3, 4)
    with torch.no_grad():
        assert module(x).grad_fn is None
    assert module(x).grad_fn.name() == "_PReLUBackward"
    assert module.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert VectorizedPReLU(3)(x.bfloat16()).isfinite().all()
    assert module(x[:0].bfloat16()).shape == (0, 3, 4)


def test_graphs_hold_the_operator_of_pytorch():
    module, x = VectorizedPReLU(3), torch.randn(2, 3, 4)
    assert "prelu" in str(torch.jit.script(module).graph)
    assert "prelu" in str(torch.jit.trace(module, x).graph)
    assert "prelu" in torch.export.export(module, (x,)).graph_module.code
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), nn.PReLU(3)(x))


@pytest.mark.parametrize("network", [ENet, ESPNet], ids=lambda n: n.__name__)
def test_a_light_network_has_no_other(network):
    kinds = [type(m) for m in network(2, 1, 2).modules() if isinstance(m, nn.PReLU)]
    assert kinds
    assert set(kinds) == {VectorizedPReLU}
