# SPDX-License-Identifier: Apache-2.0
"""What the losses of other methods do not see, what they refuse, and half precision, empty classes and odd sizes."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.losses import (
    AttentionTransferLoss,
    ChannelWiseLoss,
    CrossImageRelationLoss,
    DISTLoss,
    ImportanceMapLoss,
    IntraClassVariationLoss,
    MSKDStyleFilterLoss,
    MSKDStyleGraphLoss,
    PairwiseStructureLoss,
    RegionAffinityLoss,
    SimilarityPreservingLoss,
    get_loss,
)

MATCHING = {
    "AT": AttentionTransferLoss(),
    "importance map": ImportanceMapLoss(),
    "CWD": ChannelWiseLoss(),
    "CIRKD": CrossImageRelationLoss(),
    "DIST": DISTLoss(),
    "SKD": PairwiseStructureLoss(),
    "SP": SimilarityPreservingLoss(),
    "MSKD-style filter": MSKDStyleFilterLoss(),
    "MSKD-style graph": MSKDStyleGraphLoss(2),
}
REGIONS = {"region affinity": RegionAffinityLoss(), "IFVD": IntraClassVariationLoss()}
EVERY = MATCHING | REGIONS


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def called(name, student, teacher, labels=None):
    if name in MATCHING:
        return MATCHING[name](student, teacher)
    if labels is None:
        labels = torch.arange(student[0, 0].numel()).remainder(3).reshape(1, 1, *student.shape[2:])
        labels = labels.expand(len(student), *labels.shape[1:])
    return REGIONS[name](student, teacher, labels)


def rotation(size):
    return torch.linalg.qr(drawn(size, size, seed=9))[0]


def turned(maps):
    """Return maps whose pixel features are all rotated alike."""
    return torch.einsum("dc,bc...->bd...", rotation(maps.shape[1]), maps)


def as_samples(maps):
    """Return maps whose samples, as one vector each, are all rotated alike."""
    return (maps.flatten(1) @ rotation(maps[0].numel())).view_as(maps)


def more_classes(maps):
    """Return logits of probabilities that are mixed with the uniform ones."""
    return (0.3 * maps.softmax(1) + 0.7 / maps.shape[1]).log()


UNSEEN = {
    "AT": [lambda x: 7 * x, lambda x: -x, lambda x: x[:, [2, 0, 1]]],
    "importance map": [lambda x: 7 * x, lambda x: -x],
    "CWD": [lambda x: x + drawn(3, 3, 1, 1, seed=4)],
    "CIRKD": [lambda x: x * (1 + drawn(3, 1, 4, 4, seed=4) ** 2), turned],
    "DIST": [more_classes, lambda x: x + drawn(3, 1, 4, 4, seed=4)],
    "SKD": [lambda x: 7 * x],
    "SP": [lambda x: 7 * x, as_samples],
    "MSKD-style filter": [lambda x: 7 * x, lambda x: x[:, [2, 0, 1]]],
    "MSKD-style graph": [lambda x: 7 * x, turned],
    "region affinity": [lambda x: 7 * x, turned],
    "IFVD": [lambda x: 7 * x, turned],
}


@pytest.mark.parametrize("name", EVERY)
def test_what_is_not_seen(name):
    student, teacher = drawn(3, 3, 4, 4), drawn(3, 3, 4, 4, seed=1)
    value = called(name, student, teacher).item()
    for change in UNSEEN[name]:
        assert called(name, change(student), teacher).item() == pytest.approx(value, rel=1e-9)
        assert called(name, change(teacher), teacher).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_every_pixel_counts_and_none_is_taken_twice(name):
    # mirrored images have the same value: no axis is mixed up with another
    student, teacher = drawn(2, 3, 4, 6), drawn(2, 3, 4, 6, seed=1)
    labels = drawn(2, 1, 4, 6, seed=3).gt(0).long()
    value = called(name, student, teacher, labels).item()
    for axes in ((2,), (3,), (2, 3)):
        maps = (maps.flip(axes) for maps in (student, teacher, labels))
        assert called(name, *maps).item() == pytest.approx(value, rel=1e-9)
    swapped = (maps.transpose(2, 3).contiguous() for maps in (student, teacher, labels))
    assert called(name, *swapped).item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", EVERY)
def test_half_precision_is_computed_in_float32(name, dtype):
    student = (200 * drawn(2, 3, 8, 8)).to(dtype).requires_grad_()
    teacher = (200 * drawn(2, 3, 8, 8, seed=1)).to(dtype)
    expected = called(name, student.detach().double(), teacher.double())
    with torch.autocast("cpu", torch.bfloat16):
        value = called(name, student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", EVERY)
def test_maps_without_any_direction_have_a_finite_gradient(name):
    for student, teacher in (
        (torch.zeros(2, 3, 4, 4), drawn(2, 3, 4, 4).float()),
        (drawn(2, 3, 4, 4).float(), torch.zeros(2, 3, 4, 4)),
        (torch.full((2, 3, 4, 4), 1e-20), torch.full((2, 3, 4, 4), -1e20)),
    ):
        student.requires_grad_()
        value = called(name, student, teacher)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(student.grad).all()
        assert student.grad.abs().max() < 1e3


@pytest.mark.parametrize("name", ["AT", "importance map"])
def test_one_large_image_does_not_hide_another(name):
    # in float32, powers of the small one would be lost beside those of the large one
    student, teacher = drawn(2, 3, 4, 4), drawn(2, 3, 4, 4, seed=1)
    expected = called(name, student, teacher)
    scale = torch.tensor([1e12, 1e-3], dtype=torch.float64).reshape(2, 1, 1, 1)
    torch.testing.assert_close(
        called(name, (scale * student).float(), teacher.float()), expected.float(), rtol=1e-4, atol=0
    )


RELATIONAL = ("SKD", "SP", "MSKD-style graph")


@pytest.mark.parametrize("name", EVERY)
def test_maps_of_two_sizes(name):
    student, teacher = drawn(2, 3, 4, 4), drawn(2, 3, 8, 8, seed=1)
    if name in RELATIONAL:
        assert called(name, student, teacher) > 0
    else:
        with pytest.raises(InputError, match=r'differ in spatial size .*: set "resize": true on the term'):
            called(name, student, teacher)
    with pytest.raises(InputError, match="differ in batch size"):
        called(name, student, drawn(3, 3, 4, 4))


@pytest.mark.parametrize(("name", "remedy"), [("CWD", '"adapter": "conv1x1"'), ("DIST", "logits of both networks")])
def test_channels_that_must_agree(name, remedy):
    with pytest.raises(InputError, match=f"differ in channels .*{remedy}"):
        called(name, drawn(2, 3, 4, 4), drawn(2, 5, 4, 4))


def test_a_batch_of_one_image(caplog):
    one = drawn(1, 3, 4, 4), drawn(1, 3, 4, 4, seed=1)
    for name in EVERY:
        if name != "SP":
            assert called(name, *one) > 0
    several = drawn(3, 3, 4, 4), drawn(3, 3, 4, 4, seed=1)
    loss = SimilarityPreservingLoss()
    with caplog.at_level(logging.WARNING):
        assert loss(*one) == 0
        assert loss(*several) > 0
        assert loss(*one) == 0
    assert [record.message for record in caplog.records] == [
        "a batch of one image adds 0 to SimilarityPreservingLoss; set drop_last of the loader."
    ]
    with pytest.raises(
        InputError, match="compares the images of a batch, and batches of one have a loss and a gradient"
    ):
        loss(*one)


def test_a_class_that_is_absent_has_no_correlation_and_no_gradient():
    logits = drawn(2, 3, 4, 4)
    teacher = logits.clone()
    teacher[:, 2] = -math.inf
    student = logits.clone().requires_grad_()
    value = DISTLoss(beta=0)(student, teacher)
    value.backward()
    ours, theirs = (m.softmax(1).transpose(0, 1).flatten(1) for m in (logits, teacher))
    correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(ours[:2], theirs[:2], strict=True)]
    assert value.item() == pytest.approx(1 - sum(correlations).item() / 3)
    assert torch.isfinite(student.grad).all()


def test_an_image_of_one_class_and_one_of_void_add_nothing_to_the_affinity_of_regions():
    student, teacher = drawn(3, 3, 4, 4).requires_grad_(), drawn(3, 5, 4, 4, seed=1)
    labels = torch.ones(3, 1, 4, 4)
    labels[1] = 255
    value = RegionAffinityLoss()(student, teacher, labels)
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()
    labels[0, 0, 0] = 4
    shown = RegionAffinityLoss()(student[:1], teacher[:1], labels[:1])
    torch.testing.assert_close(RegionAffinityLoss()(student, teacher, labels), shown / 3)
    assert IntraClassVariationLoss()(student, teacher, torch.full((3, 1, 4, 4), 255)) == 0


def test_unknown_values_of_options():
    for build, message in (
        (lambda: AttentionTransferLoss(power=0), "power must be a finite number above 0, got 0"),
        (lambda: AttentionTransferLoss(reduction="max"), "reduction .*'max'.*mean"),
        (lambda: ChannelWiseLoss(-1), "temperature must be a finite number above 0"),
        (lambda: PairwiseStructureLoss(1.5), "nodes must be an integer of at least 2, got 1.5"),
        (lambda: CrossImageRelationLoss(pooling=0), "pooling must be an integer of at least 1, got 0"),
        (lambda: DISTLoss(beta=-1), "beta must be a finite number of at least 0"),
        (
            lambda: DISTLoss(activation="sigmoid"),
            "DISTLoss correlates the classes of a pixel, which .*'sigmoid' have not",
        ),
        (lambda: RegionAffinityLoss("none"), "activation .*'none'"),
        (lambda: MSKDStyleGraphLoss(True), "nodes must be an integer of at least 2, got True"),
        (lambda: get_loss("dist", tau=4), "unknown option 'tau' of loss 'dist'"),
    ):
        with pytest.raises(InputError, match=message):
            build()


def test_maps_that_a_loss_is_not_defined_for():
    with pytest.raises(InputError, match=r"size \[4, 1\] is smaller than 2 nodes along each axis; choose a layer"):
        PairwiseStructureLoss()(drawn(2, 3, 4, 1), drawn(2, 3, 4, 4))
    with pytest.raises(InputError, match="DISTLoss needs two or more classes"):
        DISTLoss()(drawn(2, 1, 4, 4), drawn(2, 1, 4, 4))
    with pytest.raises(InputError, match="similarities of 18432 pixels of a batch need too much memory, wanted 16384"):
        CrossImageRelationLoss()(torch.ones(2, 1, 96, 96), torch.ones(2, 1, 96, 96))
