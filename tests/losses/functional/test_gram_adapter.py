# SPDX-License-Identifier: Apache-2.0
"""The Gram loss with an adapter inside equals the Gram loss after the adapter."""

from __future__ import annotations

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import gram_loss

NORMALIZE = ("l2", "dim", "none")


def case(*size, channels=3, mapped=5, batch=4):
    rng = torch.Generator().manual_seed(3)
    student = torch.randn(batch, channels, *size, dtype=torch.float64, generator=rng).requires_grad_()
    weight = torch.randn(mapped, channels, dtype=torch.float64, generator=rng).requires_grad_()
    return student, weight, torch.randn(batch, 2, 3, 3, dtype=torch.float64, generator=rng)


def convolved(student, weight):
    return torch.einsum("kc,bc...->bk...", weight, student)


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("reduction", ["mean", "paper"])
@pytest.mark.parametrize("size", [(4, 5), (2, 3, 2)])
@pytest.mark.parametrize("mapped", [5, 2])
def test_equals_convolving_first(normalize, reduction, size, mapped):
    student, weight, teacher = case(*size, mapped=mapped)
    teacher = teacher if len(size) == 2 else teacher.unsqueeze(-1)
    options = {"normalize": normalize, "reduction": reduction, "l1_weight": 0.3}
    fused = gram_loss(student, teacher, adapter=weight, **options)
    expected = gram_loss(convolved(student, weight), teacher, **options)
    torch.testing.assert_close(fused, expected, rtol=1e-12, atol=0)
    found = torch.autograd.grad(fused, (student, weight))
    for ours, theirs in zip(found, torch.autograd.grad(expected, (student, weight)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)
    single = gram_loss(student.float(), teacher.float(), adapter=weight.float(), **options)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_gradcheck(normalize):
    student, weight, teacher = case(2, 2)
    assert torch.autograd.gradcheck(
        lambda x, w: gram_loss(x, teacher, normalize=normalize, adapter=w), (student, weight)
    )


@pytest.mark.parametrize("wanted", ["student", "weight"])
def test_one_of_the_two_gradients(wanted):
    student, weight, teacher = case(2, 2)
    leaf = {"student": student, "weight": weight}[wanted]
    other = weight if wanted == "student" else student
    (expected,) = torch.autograd.grad(gram_loss(student, teacher, adapter=weight), leaf)
    other.requires_grad_(False)
    (alone,) = torch.autograd.grad(gram_loss(student, teacher, adapter=weight), leaf)
    torch.testing.assert_close(alone, expected, rtol=0, atol=0)


def test_a_compiled_graph_has_no_break():
    student, weight, teacher = case(2, 2)
    for backend in ("eager", "aot_eager"):
        torch._dynamo.reset()
        compiled = torch.compile(lambda x, w: gram_loss(x, teacher, adapter=w), backend=backend, fullgraph=True)
        loss, expected = compiled(student, weight), gram_loss(student, teacher, adapter=weight)
        torch.testing.assert_close(loss, expected)
        found = torch.autograd.grad(loss, (student, weight))
        torch.testing.assert_close(found, torch.autograd.grad(expected, (student, weight)))


def test_dead_samples_get_no_gradient():
    student, weight, teacher = case(2, 2)
    student.data[0] = 0
    gradient, by_weight = torch.autograd.grad(gram_loss(student, teacher, adapter=weight), (student, weight))
    assert not gradient[0].any()
    assert gradient[1:].abs().sum() > 0
    assert by_weight.isfinite().all()


@pytest.mark.parametrize(
    ("weight", "mode", "message"),
    [
        (torch.zeros(5, 4), "batch", r"adapter must be weights \[K, 3\] in mode 'batch', got shape \[5, 4\]"),
        (torch.zeros(5, 3, 1, 1), "batch", r"got shape \[5, 3, 1, 1\] in mode 'batch'"),
        (torch.zeros(5, 3), "spatial", r"got shape \[5, 3\] in mode 'spatial': apply the convolution first"),
    ],
)
def test_adapters_that_do_not_fit(weight, mode, message):
    with pytest.raises(InputError, match=message):
        gram_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4), mode=mode, adapter=weight)
