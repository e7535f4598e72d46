# SPDX-License-Identifier: Apache-2.0
"""The Gram loss against loops, hand-worked cases, limits and invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.errors import InputError
from akd_monai.losses import GramKernelLoss, gram_loss

MODES, NORMALIZE, REDUCTIONS = ("batch", "channel", "spatial"), ("l2", "dim", "none"), ("mean", "paper")


def vectors_of(features, mode):
    """Return lists of vectors, one list for each matrix."""
    if mode == "batch":
        return [[sample.ravel() for sample in features]]
    flat = features.reshape(*features.shape[:2], -1)
    return [list(sample if mode == "channel" else sample.T) for sample in flat]


def gram_loops(student, teacher, mode, normalize, reduction, l1_weight):
    """Return the loss entry by entry in NumPy float64, written from the definition."""
    losses, squares, absolutes = [], [], []
    for ours, theirs in zip(vectors_of(student, mode), vectors_of(teacher, mode), strict=True):
        entries = []
        for b, c in itertools.product(range(len(ours)), repeat=2):
            products = []
            for vectors in (ours, theirs):
                v, w = vectors[b], vectors[c]
                if normalize == "l2":
                    v, w = v / max(np.linalg.norm(v), 1e-12), w / max(np.linalg.norm(w), 1e-12)
                products.append(sum(v * w) / (len(v) if normalize == "dim" else 1))
            entries.append(products[0] - products[1])
        squares += [d * d for d in entries]
        absolutes += [abs(d) for d in entries]
        losses.append(sum(d * d for d in entries) / len(ours) + l1_weight * sum(abs(d) for d in entries))
    if reduction == "mean":
        return sum(squares) / len(squares) + l1_weight * sum(absolutes) / len(absolutes)
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("mode", "normalize", "reduction"), list(itertools.product(MODES, NORMALIZE, REDUCTIONS)))
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), dims=st.integers(2, 3), l1_weight=st.sampled_from([1.0, 0.0, 0.3]))
def test_equals_loops(mode, normalize, reduction, seed, dims, l1_weight):
    rng = np.random.default_rng(seed)
    least = {name: 2 if (mode, normalize) == (name, "l2") else 1 for name in MODES}
    batch, channels = rng.integers(least["batch"], 4), rng.integers(least["channel"], 4)
    size = rng.integers(least["spatial"], 4, dims)
    other_channels = channels if mode == "channel" else rng.integers(1, 4)
    other_size = size if mode == "spatial" else rng.integers(1, 4, dims)
    student, teacher = rng.normal(size=(batch, channels, *size)), rng.normal(size=(batch, other_channels, *other_size))
    expected = gram_loops(student, teacher, mode, normalize, reduction, l1_weight)
    options = {"mode": mode, "normalize": normalize, "reduction": reduction, "l1_weight": l1_weight}
    ours, theirs = torch.from_numpy(student), torch.from_numpy(teacher)
    assert gram_loss(ours, theirs, **options).item() == pytest.approx(expected, rel=1e-10, abs=1e-14)
    single = GramKernelLoss(**options)(ours.float(), theirs.float())
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, abs=1e-5 * max(1, expected))


@pytest.mark.parametrize(("mode", "normalize"), list(itertools.product(MODES, NORMALIZE)))
def test_gradcheck(mode, normalize):
    rng = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(3, 2, 2, 3, dtype=torch.float64, generator=rng) for _ in range(2))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gram_loss(x, teacher, mode=mode, normalize=normalize), student)


def test_paper_reduction_by_hand():
    # K_S = [[4, 2], [2, 1]], K_T = 0: (16 + 4 + 4 + 1) / 2 + (4 + 2 + 2 + 1).
    student = torch.tensor([2.0, 1.0]).reshape(2, 1, 1, 1)
    loss = gram_loss(student, torch.zeros(2, 1, 1, 1), normalize="none", reduction="paper")
    assert loss.item() == pytest.approx(21.5)


@pytest.mark.parametrize("mode", MODES)
def test_l2_does_not_see_the_scale_of_either_side(mode):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(3, 4, 2, 2, generator=rng), torch.randn(3, 4, 2, 2, generator=rng)
    expected = gram_loss(student, teacher, mode=mode)
    assert expected > 0.01
    torch.testing.assert_close(gram_loss(1000 * student, 0.001 * teacher, mode=mode), expected)


@pytest.mark.parametrize(("mode", "normalize"), list(itertools.product(MODES, NORMALIZE)))
def test_equal_features_cost_nothing(mode, normalize):
    features = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    assert gram_loss(features, features.clone(), mode=mode, normalize=normalize).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("mode", ["batch", "auto"])
def test_one_sample_has_nothing_to_compare(mode):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(1, 4, 2, 2, generator=rng), torch.randn(1, 9, 3, 3, generator=rng)
    with pytest.raises(
        InputError, match=r"a batch of one has a loss and a gradient of 0: set mode to 'channel', or use"
    ):
        gram_loss(student, teacher, mode=mode)
    assert gram_loss(student, teacher, mode=mode, normalize="dim") > 0.01
    assert gram_loss(student, teacher[:, :4], mode="channel") > 0.01


@pytest.mark.parametrize(
    ("mode", "shape", "message"),
    [
        ("channel", (3, 1, 4, 4), r"a map of one channel has a loss and a gradient of 0: choose another layer, or"),
        (
            "auto",
            (3, 1, 4, 4, 4),
            r"mode 'channel' compares the channels of an image with each other",
        ),
        (
            "spatial",
            (3, 4, 1, 1),
            r"a map of one pixel has a loss and a gradient of 0: choose a layer of higher resolution",
        ),
    ],
)
def test_one_vector_of_any_kind_has_nothing_to_compare(mode, shape, message):
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
    for loss in (lambda: gram_loss(student, teacher, mode=mode), lambda: GramKernelLoss(mode)(student, teacher)):
        with pytest.raises(InputError, match=message):
            loss()
    assert gram_loss(student, teacher, mode=mode, normalize="dim") > 0.01


def test_auto_compares_samples_in_2d_and_channels_in_3d():
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 3, generator=rng), torch.randn(2, 4, 3, 3, generator=rng)
    assert torch.equal(gram_loss(student, teacher, mode="auto"), gram_loss(student, teacher, mode="batch"))
    student, teacher = student.unsqueeze(-1)[:1], teacher.unsqueeze(-1)[:1]
    assert torch.equal(gram_loss(student, teacher, mode="auto"), gram_loss(student, teacher, mode="channel"))
    assert gram_loss(student, teacher, mode="auto") > 0.01


def test_one_permutation_of_the_pixels_of_both_sides_changes_nothing():
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(3, 4, 2, 3, generator=rng), torch.randn(3, 4, 2, 3, generator=rng)
    for mode in MODES:
        flipped = gram_loss(student.flip(2, 3), teacher.flip(2, 3), mode=mode)
        torch.testing.assert_close(flipped, gram_loss(student, teacher, mode=mode))
    one_side = gram_loss(student.flip(3), teacher, mode="spatial")
    assert not torch.isclose(one_side, gram_loss(student, teacher, mode="spatial"))


@pytest.mark.parametrize("mode", MODES)
def test_dead_features_get_no_gradient_instead_of_a_huge_one(mode):
    rng = torch.Generator().manual_seed(0)
    student = torch.randn(3, 4, 2, 2, generator=rng)
    student[0] = student[:, 0] = student[:, :, 0, 0] = 0
    student.requires_grad_()
    loss = gram_loss(student, torch.randn(3, 4, 2, 2, generator=rng), mode=mode)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert gradient.abs().max() < 10
    assert not gradient[0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_and_autocast_stay_finite_and_exact(dtype, autocast):
    rng = torch.Generator().manual_seed(0)
    student = (1000 * torch.rand(4, 8, 16, 16, generator=rng)).to(dtype).requires_grad_()  # inner products of 7e8
    teacher = (1000 * torch.rand(4, 8, 16, 16, generator=rng)).to(dtype)
    expected = gram_loss(student.double(), teacher.double()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = gram_loss(student, teacher)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert torch.autograd.grad(loss, student)[0].isfinite().all()


def test_no_gradient_reaches_the_teacher_and_inference_tensors_serve():
    with torch.inference_mode():
        recorded = torch.randn(2, 3, 2, 2)
    student, teacher = torch.randn(2, 3, 2, 2, requires_grad=True), torch.randn(2, 3, 2, 2, requires_grad=True)
    (gram_loss(student, recorded) + gram_loss(student, teacher)).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_backward_keeps_no_copy_of_the_features():
    student = torch.randn(4, 16, 8, 8, requires_grad=True)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        gram_loss(student, torch.randn(4, 16, 8, 8))
    assert sum(saved.values()) <= 1.05 * student.nbytes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mode": "chanel"},
            r"mode must be one of 'batch', 'channel', 'spatial', 'auto', got 'chanel'. Did you mean 'channel'",
        ),
        ({"normalize": "L2"}, r"normalize must be one of 'l2', 'dim', 'none', got 'L2'"),
        ({"reduction": "sum"}, r"reduction must be one of 'mean', 'paper', got 'sum'"),
        ({"l1_weight": -1.0}, r"l1_weight must be a finite number of at least 0, got -1.0"),
        ({"l1_weight": float("nan")}, r"l1_weight must be a finite number"),
        ({"mode": 3}, r"mode must be one of .* got 3"),
    ],
)
def test_options_out_of_range(options, message):
    maps = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    with pytest.raises(InputError, match=message):
        gram_loss(*maps, **options)
    with pytest.raises(InputError, match=message):
        GramKernelLoss(**options)


@pytest.mark.parametrize(
    ("mode", "student", "teacher", "message"),
    [
        ("batch", (2, 2, 3, 3), (3, 2, 3, 3), r"batch size \(student \[2, 2, 3, 3\], teacher \[3, 2, 3, 3\]\)"),
        ("channel", (2, 2, 3, 3), (2, 4, 3, 3), r"differ in channels .*\"adapter\": \"conv1x1\""),
        ("spatial", (2, 2, 3, 3), (2, 2, 6, 6), r"differ in spatial size .*\"resize\": true"),
        ("batch", (2, 2, 3), (2, 2, 3, 3), r"the student's map must be .*got torch.float32 of shape \[2, 2, 3\]"),
    ],
)
def test_maps_that_do_not_fit(mode, student, teacher, message):
    with pytest.raises(InputError, match=message):
        gram_loss(torch.zeros(student), torch.zeros(teacher), mode=mode)
