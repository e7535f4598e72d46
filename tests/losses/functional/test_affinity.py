# SPDX-License-Identifier: Apache-2.0
"""Types, shapes, memory, autograd and mistakes of the affinity loss."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor

from akd_monai.errors import InputError
from akd_monai.losses import AdaptiveAffinityLoss, affinity_loss, affinity_terms

ALGORITHMS = ["reference", "box", "dense", "auto"]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def random_case(*shape, classes=3, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, dtype=dtype, generator=rng)
    return scores, torch.randint(0, classes, (shape[0], *shape[2:]), generator=rng)


@every_algorithm
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 2, 2, 3, 2)])
def test_gradcheck(algorithm, shape):
    scores, labels = random_case(*shape, dtype=torch.float64)
    labels[0, 0] = 255
    scores.requires_grad_()

    def terms(x):
        return affinity_terms(x, labels, kernel=3, margin=0.7, class_balanced=True, algorithm=algorithm)

    assert torch.autograd.gradcheck(terms, scores)
    assert torch.autograd.gradcheck(lambda x: affinity_loss(x, labels, algorithm=algorithm), scores)


@every_algorithm
def test_backward_twice_on_a_kept_graph_and_through_layers(algorithm):
    scores, labels = random_case(1, 4, 5, 5, dtype=torch.float64)
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def loss():
        return affinity_loss(torch.einsum("dc,bchw->bdhw", weight, scores), labels, algorithm=algorithm)

    value = loss()
    (first,) = torch.autograd.grad(value, weight, retain_graph=True)
    (again,) = torch.autograd.grad(3 * value, weight)
    torch.testing.assert_close(again, 3 * first)
    assert torch.autograd.gradcheck(lambda _: loss(), weight)


@every_algorithm
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_computed_in_float32(algorithm, dtype):
    scores, labels = random_case(2, 4, 6, 6)
    scores = (scores * 100).to(dtype).requires_grad_()
    loss = affinity_loss(scores, labels, algorithm=algorithm)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, affinity_loss(scores.float(), labels, algorithm="reference"))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


@every_algorithm
def test_autocast_changes_nothing(algorithm):
    scores, labels = random_case(2, 16, 6, 6)
    scores.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = affinity_loss(scores, labels, algorithm=algorithm)
    torch.testing.assert_close(inside, affinity_loss(scores, labels, algorithm=algorithm), rtol=0, atol=0)
    assert torch.autograd.grad(inside, scores)[0].isfinite().all()


@every_algorithm
def test_saturated_scores_stay_finite(algorithm):
    scores, labels = random_case(1, 3, 4, 4)
    scores = (scores * 1e4).requires_grad_()  # most probabilities are exactly 0 in float32
    loss = affinity_loss(scores, labels, algorithm=algorithm)
    assert loss.isfinite()
    assert loss > 100
    assert torch.autograd.grad(loss, scores)[0].isfinite().all()


@every_algorithm
def test_float64_stays_float64_and_meta_tensors_come_out_plain(algorithm):
    scores, labels = random_case(1, 2, 3, 3, dtype=torch.float64)
    loss = affinity_loss(MetaTensor(scores), MetaTensor(labels), algorithm=algorithm)
    assert type(loss) is torch.Tensor
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, affinity_loss(scores, labels, algorithm=algorithm))


@every_algorithm
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_integer_types_of_labels(algorithm, dtype):
    scores, labels = random_case(1, 2, 4, 4)
    expected = affinity_loss(scores, labels, algorithm=algorithm)
    for ignore_index in (255, -1, None):
        found = affinity_loss(scores, labels.to(dtype), ignore_index=ignore_index, algorithm=algorithm)
        torch.testing.assert_close(found, expected)
    negative = affinity_loss(scores, labels - 1, ignore_index=-1, algorithm=algorithm)
    zero = affinity_loss(scores, labels, ignore_index=0, algorithm=algorithm)
    torch.testing.assert_close(negative, zero)


@every_algorithm
def test_an_ignore_index_outside_the_type_of_the_labels_ignores_nothing(algorithm):
    scores, labels = random_case(1, 2, 4, 4)
    labels[labels == 2] = 255
    expected = affinity_loss(scores, labels, ignore_index=None, algorithm=algorithm)
    for outside in (-1, 256, 511, 2**40):
        found = affinity_loss(scores, labels.byte(), ignore_index=outside, algorithm=algorithm)
        torch.testing.assert_close(found, expected)


def test_boolean_labels_are_two_classes():
    scores, labels = random_case(1, 2, 4, 4, classes=2)
    torch.testing.assert_close(affinity_loss(scores, labels.bool()), affinity_loss(scores, labels))


@pytest.mark.parametrize("order", ["plain", "channels last", "turned", "every second"])
@pytest.mark.parametrize("channels", [2, 4])
@every_algorithm
def test_memory_order_of_scores(algorithm, channels, order):
    scores, labels = random_case(2, channels, 5, 6, 3)
    reordered = {
        "plain": scores,
        "channels last": scores.to(memory_format=torch.channels_last_3d),
        "turned": scores.movedim(2, 4).contiguous().movedim(4, 2),
        "every second": scores.repeat_interleave(2, 3)[:, :, :, ::2],
    }[order]
    plain, leaf = scores.clone().requires_grad_(), reordered.requires_grad_()
    expected = affinity_loss(plain, labels, algorithm="reference")
    loss = affinity_loss(leaf, labels, algorithm=algorithm)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, leaf)[0], torch.autograd.grad(expected, plain)[0])


def test_labels_are_resized_by_nearest_exact():
    # Rows of 8 to 2: floor(0.5 * 4) = 2 and floor(1.5 * 4) = 6; plain nearest would take rows 0 and 4.
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 2], labels[0, 6] = 3, 5
    scores = torch.tensor([2.0, -2.0]).reshape(1, 1, 2, 1).repeat(1, 2, 1, 2)
    scores[:, 1] = 0
    attract, repel = affinity_terms(scores, labels)
    # Two rows of two pixels, each row one label: 2 ordered P+ pairs a row with W = 0, all pairs across differ.
    assert attract.item() == pytest.approx(0, abs=1e-7)
    assert repel.item() == pytest.approx(3 - 2 * math.tanh(1), abs=1e-6)


@pytest.mark.parametrize(("n_in", "n_out"), [(8, 1), (9, 4), (5, 5), (3, 7), (384, 48)])
def test_resized_labels_follow_the_formula_in_3d(n_in, n_out):
    labels = torch.arange(n_in).reshape(1, 1, n_in, 1).expand(1, 2, n_in, 2)
    picked = [math.floor((row + 0.5) * n_in / n_out) for row in range(n_out)]
    by_hand = torch.tensor(picked).reshape(1, 1, n_out, 1).expand(1, 2, n_out, 2) % 4
    scores, _ = random_case(1, 2, 2, n_out, 2)
    torch.testing.assert_close(affinity_loss(scores, labels % 4), affinity_loss(scores, by_hand), rtol=0, atol=0)


@pytest.mark.parametrize("ragged", [True, False])
def test_backward_keeps_little_more_than_one_map(ragged):
    scores, labels = random_case(2, 16, 24, 24)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t):
        affinity_loss(scores.requires_grad_(), labels if ragged else torch.zeros_like(labels))
    assert sum(saved) <= 1.05 * scores.nbytes


def test_nothing_is_kept_without_a_gradient():
    scores, labels = random_case(2, 16, 24, 24)
    loss = affinity_loss(scores, labels)
    assert not loss.requires_grad
    assert loss.grad_fn is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, r"kernel must be an odd integer of at least 3, got 4"),
        ({"kernel": 1}, r"kernel must be an odd integer"),
        ({"kernel": 3.0}, r"kernel must be an odd integer of at least 3, got 3.0"),
        ({"dilation": 0}, r"dilation must be an integer of at least 1, got 0"),
        ({"margin": 0.0}, r"margin must be a finite number above 0, got 0.0"),
        ({"margin": math.nan}, r"margin must be a finite number above 0, got nan"),
        ({"margin": "3"}, r"margin must be a finite number above 0, got '3'"),
        ({"ignore_index": 1.5}, r"ignore_index must be an integer or None"),
        ({"algorithm": "boxes"}, r"algorithm must be one of 'auto', .* got 'boxes'. Did you mean 'box'\?"),
    ],
)
def test_options_out_of_range(options, message):
    scores, labels = random_case(1, 2, 3, 3)
    for call in (affinity_terms, affinity_loss):
        with pytest.raises(InputError, match=message):
            call(scores, labels, **options)
    with pytest.raises(InputError, match=message):
        AdaptiveAffinityLoss(**options)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (torch.zeros(1, 2, 3), torch.zeros(1, 3).int(), r"scores must be a non-empty floating point .* \[1, 2, 3\]"),
        (torch.zeros(0, 2, 3, 3), torch.zeros(0, 3, 3).int(), r"non-empty"),
        (torch.zeros(1, 2, 3, 3).int(), torch.zeros(1, 3, 3).int(), r"floating point .* got torch.int32"),
        ([[1.0]], torch.zeros(1, 3, 3).int(), r"scores must be a tensor .* got list"),
        (torch.zeros(1, 1, 3, 3), torch.zeros(1, 3, 3).int(), r"at least two channels .* activation to 'sigmoid'"),
        (
            torch.zeros(1, 2, 3, 3),
            torch.zeros(1, 3, 3),
            r"labels must be a tensor of integers, got torch.float32.*argmax",
        ),
        (torch.zeros(1, 2, 3, 3), [[0]], r"labels must be a tensor of integers, got list"),
        (torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 3, 3).int(), r"got shape \[1, 1, 3, 3\].* labels\[:, 0\]"),
        (torch.zeros(2, 2, 3, 3), torch.zeros(1, 3, 3).int(), r"batch size: \[2, 2, 3, 3\] and \[1, 3, 3\]"),
        (torch.zeros(1, 2, 3, 3), torch.zeros(1, 0, 3).int(), r"labels must not be empty"),
    ],
)
def test_maps_that_do_not_fit(scores, labels, message):
    with pytest.raises(InputError, match=message):
        affinity_loss(scores, labels)


def test_triton_is_never_replaced_silently():
    scores, labels = random_case(1, 2, 3, 3)
    with pytest.raises(InputError, match=r"algorithm 'triton' (needs the package triton|runs on CUDA).*use algorithm"):
        affinity_loss(scores, labels, algorithm="triton")
