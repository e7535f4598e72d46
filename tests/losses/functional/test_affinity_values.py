# SPDX-License-Identifier: Apache-2.0
"""The affinity loss against loops, hand-worked cases, limits and invariances, for every algorithm that runs here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.losses import affinity_loss, affinity_terms

ALGORITHMS = ["reference", "box", "dense", "auto"]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def affinity_loops(scores, labels, kernel=3, dilation=1, margin=3.0, ignore_index=255, class_balanced=False):
    """Return (L+, its gradient, L-, its gradient), pair by pair in NumPy float64, written from the definition."""
    scores = np.asarray(scores, dtype=np.float64)
    log_p = scores - scores.max(1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
    size, reach = scores.shape[2:], kernel // 2
    equal, unequal = [], []
    for b, i in itertools.product(range(len(scores)), itertools.product(*map(range, size))):
        for step in itertools.product(range(-reach, reach + 1), repeat=len(size)):
            j = tuple(a + dilation * s for a, s in zip(i, step, strict=True))
            if j == i or not all(0 <= a < n for a, n in zip(j, size, strict=True)):
                continue
            if ignore_index is not None and ignore_index in (labels[(b, *i)], labels[(b, *j)]):
                continue
            (equal if labels[(b, *i)] == labels[(b, *j)] else unequal).append((b, i, j))

    def divergence(pair):
        b, i, j = pair
        l_i, l_j = log_p[(b, slice(None), *i)], log_p[(b, slice(None), *j)]
        p_i, p_j = np.exp(l_i), np.exp(l_j)
        w = (p_i * (l_i - l_j)).sum()
        return w, p_i * (l_i - l_j - w), p_j - p_i  # derivatives by the scores at i and at j

    def weighted(pairs, weights, hinge):
        value, gradient = 0.0, np.zeros_like(scores)
        for (b, i, j), weight in zip(pairs, weights, strict=True):
            w, by_i, by_j = divergence((b, i, j))
            if hinge and w >= margin:
                continue
            sign = -1 if hinge else 1
            value += weight * ((margin - w) if hinge else w)
            gradient[(b, slice(None), *i)] += sign * weight * by_i
            gradient[(b, slice(None), *j)] += sign * weight * by_j
        return value, gradient

    classes = [labels[(b, *i)] for b, i, _ in equal]
    if class_balanced:
        share = [1 / (len(set(classes)) * classes.count(c)) for c in classes]
    else:
        share = [1 / max(len(equal), 1)] * len(equal)
    return (*weighted(equal, share, False), *weighted(unequal, [1 / max(len(unequal), 1)] * len(unequal), True))


def two_pixels(margin_a, margin_b):
    return torch.tensor([[margin_a, margin_b], [0.0, 0.0]]).reshape(1, 2, 1, 2)


@st.composite
def cases(draw):
    dims = draw(st.sampled_from([2, 2, 3]))
    size = [draw(st.integers(1, 6 if dims == 2 else 3)) for _ in range(dims)]
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, draw(st.integers(1, 4)), (batch, *size))
    labels[rng.random(labels.shape) < draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))] = 255
    options = {
        "kernel": draw(st.sampled_from([3, 5])),
        "dilation": draw(st.integers(1, 2)),
        "margin": draw(st.sampled_from([0.3, 1.0, 3.0])),
        "class_balanced": draw(st.booleans()),
    }
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    return scale * rng.normal(size=(batch, channels, *size)), labels, options


@every_algorithm
@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=cases(), factors=st.tuples(st.sampled_from([0.0, 1.0, -0.7]), st.sampled_from([1.0, 0.0, 2.5])))
def test_terms_and_gradients_equal_loops(algorithm, case, factors):
    scores, labels, options = case
    attract, by_attract, repel, by_repel = affinity_loops(scores, labels, **options)
    leaf = torch.tensor(scores, requires_grad=True)
    terms = affinity_terms(leaf, torch.from_numpy(labels), algorithm=algorithm, **options)
    assert [t.item() for t in terms] == pytest.approx([attract, repel], rel=1e-10, abs=1e-12)
    (gradient,) = torch.autograd.grad(factors[0] * terms[0] + factors[1] * terms[1], leaf)
    np.testing.assert_allclose(gradient, factors[0] * by_attract + factors[1] * by_repel, rtol=1e-9, atol=1e-12)


@every_algorithm
@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=cases())
def test_loss_in_float32_equals_loops(algorithm, case):
    scores, labels, options = case
    scores = scores.astype(np.float32)
    attract, by_attract, repel, by_repel = affinity_loops(scores, labels, **options)
    leaf = torch.tensor(scores, requires_grad=True)
    loss = affinity_loss(leaf, torch.from_numpy(labels), algorithm=algorithm, **options)
    assert loss.item() == pytest.approx(attract + repel, abs=1e-5 * max(1, attract + repel))
    (gradient,) = torch.autograd.grad(loss, leaf)
    np.testing.assert_allclose(gradient, by_attract + by_repel, atol=2e-5)


def test_loop_gradient_is_the_slope_of_the_loop_value():
    rng = np.random.default_rng(1)
    scores, labels, step = rng.normal(size=(1, 3, 2, 3)), rng.integers(0, 2, (1, 2, 3)), 1e-6
    _, by_attract, _, by_repel = affinity_loops(scores, labels, margin=0.8)
    for index in np.ndindex(*scores.shape):
        up, down = scores.copy(), scores.copy()
        up[index] += step
        down[index] -= step
        above, below = (affinity_loops(x, labels, margin=0.8) for x in (up, down))
        assert (above[0] - below[0]) / (2 * step) == pytest.approx(by_attract[index], abs=1e-7)
        assert (above[2] - below[2]) / (2 * step) == pytest.approx(by_repel[index], abs=1e-7)


@every_algorithm
@pytest.mark.parametrize(
    ("labels", "margin", "expected"),
    [
        ([1, 1], 3.0, (2 * math.tanh(1), 0.0)),
        ([0, 1], 3.0, (0.0, 3 - 2 * math.tanh(1))),
        ([0, 1], 1.0, (0.0, 0.0)),  # further apart than the margin: the hinge is closed
        ([0, 255], 3.0, (0.0, 0.0)),
    ],
    ids=["same", "different", "beyond the margin", "ignored"],
)
def test_two_pixels_by_hand(algorithm, labels, margin, expected):
    # Margins 2 and -2: both directions are (2 sigmoid(2) - 1) * 2 = 2 tanh(1).
    terms = affinity_terms(two_pixels(2.0, -2.0), torch.tensor([[labels]]), margin=margin, algorithm=algorithm)
    assert [t.item() for t in terms] == pytest.approx(expected, abs=1e-6)


@every_algorithm
def test_directions_of_a_pair_count_apart(algorithm):
    # Probabilities (0.9, 0.1) and (0.5, 0.5): the two divergences differ, and the margin lies between them.
    a, b = math.log(9), 0.0
    forth = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    back = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert forth < 0.45 < back
    _, repel = affinity_terms(two_pixels(a, b), torch.tensor([[[0, 1]]]), margin=0.45, algorithm=algorithm)
    assert repel.item() == pytest.approx((0.45 - forth) / 2, abs=1e-6)


@every_algorithm
def test_pairs_are_pooled_over_the_batch(algorithm):
    scores = torch.cat([two_pixels(2.0, -2.0), two_pixels(0.0, 0.0), two_pixels(1.0, 1.0)])
    labels = torch.tensor([[[0, 0]], [[0, 0]], [[0, 1]]])
    attract, repel = affinity_terms(scores, labels, algorithm=algorithm)
    assert attract.item() == pytest.approx(2 * math.tanh(1) / 2, abs=1e-6)  # an image without P+ does not dilute it
    assert repel.item() == pytest.approx(3.0, abs=1e-6)


@every_algorithm
def test_class_balanced_by_hand(algorithm):
    # Class 0 owns two pairs of pixels (W 0 and 2 tanh 1), class 1 one (W 0), class 2 none: (tanh 1 + 0) / 2.
    scores = torch.tensor([[2.0, 2.0, -2.0, 1.0, 1.0, 5.0], [0.0] * 6]).reshape(1, 2, 1, 6)
    labels = torch.tensor([[[0, 0, 0, 1, 1, 2]]])
    attract, _ = affinity_terms(scores, labels, class_balanced=True, algorithm=algorithm)
    assert attract.item() == pytest.approx(math.tanh(1) / 2, abs=1e-6)


@every_algorithm
def test_no_pair_reaches_over_the_border(algorithm):
    # Only the first and the last column differ from the middle; wrapping round would pair them, padding would add 0s.
    scores = torch.zeros(1, 2, 1, 5)
    scores[0, 0, 0, 0], scores[0, 0, 0, 4] = 4.0, -4.0
    labels = torch.tensor([[[0, 1, 1, 1, 2]]])
    attract, repel = affinity_terms(scores, labels, algorithm=algorithm, margin=20.0)
    to_flat = -math.log(2) - 0.5 * (math.log(1 / (1 + math.exp(-4))) + math.log(1 / (1 + math.exp(4))))
    high = 1 / (1 + math.exp(-4))
    from_flat = math.log(2) + high * math.log(high) + (1 - high) * math.log(1 - high)
    assert attract.item() == pytest.approx(0, abs=1e-7)
    assert repel.item() == pytest.approx(20 - (to_flat + from_flat) / 2, rel=1e-6)


@every_algorithm
def test_dilation_skips_the_pixels_between(algorithm):
    scores = torch.tensor([[2.0, 0.0, -2.0], [0.0] * 3]).reshape(1, 2, 1, 3)
    attract, _ = affinity_terms(scores, torch.zeros(1, 1, 3).int(), dilation=2, algorithm=algorithm)
    assert attract.item() == pytest.approx(2 * math.tanh(1), abs=1e-6)


@every_algorithm
def test_flipping_and_adding_a_constant_change_nothing(algorithm):
    rng = torch.Generator().manual_seed(3)
    scores, labels = torch.randn(2, 3, 4, 5, 3, generator=rng), torch.randint(0, 2, (2, 4, 5, 3), generator=rng)
    loss = affinity_loss(scores, labels, algorithm=algorithm)
    flipped = affinity_loss(scores.flip(2, 4), labels.flip(1, 3), algorithm=algorithm)
    shifted = affinity_loss(scores + torch.randn(2, 1, 4, 5, 3, generator=rng), labels, algorithm=algorithm)
    torch.testing.assert_close(flipped, loss)
    torch.testing.assert_close(shifted, loss)


@every_algorithm
def test_a_flat_map_pays_the_margin_alone(algorithm):
    loss = affinity_loss(torch.zeros(1, 4, 3, 3), torch.eye(3).long()[None], margin=1.25, algorithm=algorithm)
    assert loss.item() == 1.25


@every_algorithm
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 2, 1, 1), (1, 2, 3, 2, 2)])
@pytest.mark.parametrize("label", [0, 255])
def test_empty_sets_give_zero_in_the_graph(algorithm, shape, label):
    scores = torch.full(shape, 0.5, requires_grad=True)
    labels = torch.full((shape[0], *shape[2:]), label)
    for balanced in (False, True):
        attract, repel = affinity_terms(scores, labels, class_balanced=balanced, algorithm=algorithm)
        assert attract.item() == repel.item() == 0
        (gradient,) = torch.autograd.grad(attract + repel, scores)
        assert gradient.abs().max() < 1e-8


@every_algorithm
@pytest.mark.parametrize(("channels", "side"), [(16, 24), (2, 24), (2, 192), (16, 192)])
def test_small_differences_of_smooth_maps_survive_float32(algorithm, channels, side):
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, channels, 4, 4, dtype=torch.float64, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic") * 0.01
    scores = (smooth + 3 * torch.randn(1, channels, 1, 1, dtype=torch.float64, generator=rng)).float()
    labels = torch.zeros(1, side, side, dtype=torch.uint8)
    expected = affinity_loss(scores.double(), labels, algorithm="reference").item()
    assert 0 < expected < 1e-5
    assert affinity_loss(scores, labels, algorithm=algorithm).item() == pytest.approx(expected, rel=2e-5)


@every_algorithm
@pytest.mark.parametrize("channels", [2, 8])
def test_rare_pairs_of_saturated_maps_are_exact_in_float32(algorithm, channels):
    """A rare class weighs as much as all others, though its windows are sums over pixels hundreds of nats apart."""
    rng = torch.Generator().manual_seed(367)
    coarse = torch.randn(2, channels, 12, 12, dtype=torch.float64, generator=rng)
    scores = (300 * torch.nn.functional.interpolate(coarse, (120, 120), mode="bicubic")).float()
    labels = (torch.rand(2, 120, 120, generator=rng) < 0.003).long()
    options = {"kernel": 7, "class_balanced": True, "margin": 0.3}
    leaf, exact = scores.clone().requires_grad_(), scores.double().requires_grad_()
    loss = affinity_loss(leaf, labels, algorithm=algorithm, **options)
    expected = affinity_loss(exact, labels, algorithm="reference", **options)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=2e-6)
    gradient, by_exact = torch.autograd.grad(loss, leaf)[0], torch.autograd.grad(expected, exact)[0]
    torch.testing.assert_close(gradient.double(), by_exact, rtol=0, atol=2e-5)
