# SPDX-License-Identifier: Apache-2.0
"""The affinity loss inside compiled graphs, under DDP and autocast, and what it costs in memory."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile

from akd_monai.losses import AdaptiveAffinityLoss, affinity_loss
from akd_monai.losses._affinity.operator import affinity_operator


def maps(*shape, seed=0, noise=0.0):
    """Scores, and labels of one disc a sample of which a share is flipped."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape[2:]), indexing="ij")
    labels = (y**2 + x**2 < 0.3).long().expand(shape[0], -1, -1)
    flipped = torch.rand(labels.shape, generator=rng) < noise
    return torch.randn(shape, generator=rng), torch.where(flipped, 1 - labels, labels)


def peak_bytes(function):
    """Return the most bytes that ``function`` held at once, by the events of PyTorch's allocator."""
    function()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    held, peak = 0, 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_graph_has_no_break(backend, noise):
    scores, labels = maps(2, 3, 8, 8, noise=noise)
    teacher = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    module = AdaptiveAffinityLoss()
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: 2 * module(2 * x, teacher), backend=backend, fullgraph=True)
    for x in (scores, scores.flip(0)):
        leaf, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
        loss, expected = compiled(leaf), 2 * affinity_loss(2 * plain, labels, algorithm="reference")
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(torch.autograd.grad(loss, leaf), torch.autograd.grad(expected, plain))
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), expected.detach())


def test_the_operator_keeps_its_promises():
    scores, labels = maps(2, 3, 6, 6)
    for algorithm in ("auto", "box", "dense"):
        for want in (True, False):
            arguments = (scores, labels, 3, 1, 3.0, 255, False, algorithm, 1.0, 1.0, want)
            torch.library.opcheck(affinity_operator, arguments, test_utils=("test_schema", "test_faketensor"))


def test_gradients_of_a_kept_graph_are_tensors_of_their_own():
    scores, labels = maps(1, 3, 6, 6)
    leaf = scores.requires_grad_()
    loss = affinity_loss(leaf, labels)
    (one,) = torch.autograd.grad(loss, leaf, torch.tensor(2.0), retain_graph=True)
    before = one.clone()
    (two,) = torch.autograd.grad(loss, leaf, torch.tensor(3.0))
    torch.testing.assert_close(one, before, rtol=0, atol=0)
    torch.testing.assert_close(2 * two, 3 * one)


def test_two_losses_of_one_map_add_their_gradients():
    scores, labels = maps(1, 3, 6, 6)
    leaf, other = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    (affinity_loss(leaf, labels) + 0.5 * affinity_loss(leaf, 1 - labels, kernel=5)).backward()
    first = torch.autograd.grad(affinity_loss(other, labels, algorithm="reference"), other)[0]
    second = torch.autograd.grad(affinity_loss(other, labels, kernel=5, algorithm="reference"), other)[0]
    torch.testing.assert_close(leaf.grad, first + 0.5 * second)


def test_a_batch_of_gradients():
    scores, labels = maps(1, 3, 6, 6)
    leaf = scores.requires_grad_()
    (found,) = torch.autograd.grad(affinity_loss(leaf, labels), leaf, torch.tensor([1.0, -2.0]), is_grads_batched=True)
    torch.testing.assert_close(found[1], -2 * found[0])


def test_a_second_derivative_is_refused_not_wrong():
    scores, labels = maps(1, 3, 6, 6)
    leaf = scores.requires_grad_()
    (gradient,) = torch.autograd.grad(affinity_loss(leaf, labels).square(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


# In maps; the naive form, which unfolds them, holds 54 of them at kernel 3 and 146 at kernel 5.
@pytest.mark.parametrize(("kernel", "noise", "limit"), [(3, 0.0, 1.45), (5, 0.0, 1.75), (3, 0.2, 2.15), (5, 0.2, 2.15)])
def test_peak_memory_is_the_gradient_and_parts_of_one_sample(kernel, noise, limit):
    scores, labels = maps(4, 64, 80, 80, noise=noise)

    def step():
        leaf = scores.detach().requires_grad_()
        affinity_loss(leaf, labels.byte(), kernel=kernel).mul(0.9).backward()

    assert peak_bytes(step) <= limit * scores.nbytes


def test_under_ddp_and_autocast(tmp_path):
    # One process is enough for the hooks that DDP puts on gradients; averaging is DDP's business.
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        images, labels = torch.randn(2, 1, 8, 8), maps(2, 2, 8, 8)[1]
        grads = []
        for wrap in (torch.nn.parallel.DistributedDataParallel, lambda network: network):
            torch.manual_seed(0)
            network = wrap(torch.nn.Conv2d(1, 4, 3, padding=1))
            for _ in range(2):  # DDP checks in the second step that the first one finished
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = affinity_loss(network(images), labels)
                loss.backward()
            assert loss.dtype == torch.float32
            grads.append([p.grad for p in network.parameters()])
        torch.testing.assert_close(*grads, rtol=0, atol=0)
    finally:
        dist.destroy_process_group()
