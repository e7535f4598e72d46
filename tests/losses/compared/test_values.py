# SPDX-License-Identifier: Apache-2.0
"""Losses of other methods against loops in NumPy float64, and by finite differences."""

from __future__ import annotations

import compared_loops as loops
import numpy as np
import pytest
import torch

from akd_monai import losses as akd


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def labels_like(maps, seed=2, classes=3):
    values = np.random.default_rng(seed).integers(0, classes, (len(maps), *maps.shape[2:]))
    values[0].flat[0] = 255
    return values


# loss, the loops, channels of the student and of the teacher
CASES = {
    "AT": (akd.AttentionTransferLoss(), loops.attention, 3, 5),
    "AT, p = 3, sum": (
        akd.AttentionTransferLoss(3, "sum"), lambda s, t: loops.attention(s, t, 3, "sum"), 3, 5),
    "importance map": (akd.ImportanceMapLoss(), lambda s, t: loops.attention(s, t, 4, "sum"), 3, 5),
    "CWD": (akd.ChannelWiseLoss(), loops.channel_wise, 3, 3),
    "CWD, T = 0.5": (akd.ChannelWiseLoss(0.5), lambda s, t: loops.channel_wise(s, t, 0.5), 1, 1),
    "SKD": (akd.PairwiseStructureLoss(), lambda s, t: loops.node_structure(s, t, 2, np.max), 3, 5),
    "SP": (akd.SimilarityPreservingLoss(), loops.similarity_preserving, 3, 5),
    "CIRKD": (akd.CrossImageRelationLoss(), loops.cross_image, 3, 5),
    "CIRKD, T = 0.1": (akd.CrossImageRelationLoss(0.1), lambda s, t: loops.cross_image(s, t, 0.1), 3, 2),
    "DIST": (akd.DISTLoss(), loops.dist, 3, 3),
    "DIST, two classes": (akd.DISTLoss(), loops.dist, 2, 2),
    "DIST, weights": (akd.DISTLoss(0.5, 2.0, 3.0), lambda s, t: loops.dist(s, t, 0.5, 2.0, 3.0), 4, 4),
    "MSKD-style filter": (akd.MSKDStyleFilterLoss(), loops.mskd_filter, 3, 5),
    "MSKD-style graph": (akd.MSKDStyleGraphLoss(2), lambda s, t: loops.node_structure(s, t, 2, np.mean), 3, 5),
}  # fmt: skip
REGIONS = {
    "region affinity": (akd.RegionAffinityLoss(), loops.region_affinity, 3, 5),
    "IFVD": (akd.IntraClassVariationLoss(), loops.intra_class, 3, 5),
}
SIZES = {"2D": (4, 6), "3D": (2, 4, 2)}


def maps_of(case, size):
    student, teacher = drawn(3, case[2], *size), drawn(3, case[3], *size, seed=1)
    return torch.from_numpy(student), torch.from_numpy(teacher)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", CASES)
def test_equals_loops(name, size):
    student, teacher = maps_of(CASES[name], size)
    expected = CASES[name][1](student.numpy(), teacher.numpy())
    assert CASES[name][0](student, teacher).item() == pytest.approx(expected, rel=1e-10, abs=1e-14)
    assert expected > 1e-4


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", REGIONS)
def test_regions_equal_loops(name, size):
    student, teacher = maps_of(REGIONS[name], size)
    labels = labels_like(student.numpy())
    labels[2] = 1  # an image of one class
    labels[1][labels[1] == 2] = 0  # and one that shows two of three
    value = REGIONS[name][0](student, teacher, torch.from_numpy(labels)[:, None])
    assert value.item() == pytest.approx(REGIONS[name][1](student.numpy(), teacher.numpy(), labels), rel=1e-10)


@pytest.mark.parametrize("name", [*CASES, *REGIONS])
def test_gradient_by_finite_differences(name):
    loss = (CASES | REGIONS)[name][0]
    student, teacher = maps_of((CASES | REGIONS)[name], (4, 2))
    extra = (torch.from_numpy(labels_like(student.numpy()))[:, None],) if name in REGIONS else ()
    teacher.requires_grad_()
    student.requires_grad_()
    value = loss(student, teacher, *extra)
    value.backward()
    assert teacher.grad is None
    # maps of which one number moves a maximum are avoided by the seed
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher.detach(), *extra), (student,), atol=1e-7)
    if name != "DIST, two classes":
        assert student.grad.abs().sum() > 1e-4


def test_of_two_classes_only_the_relation_within_a_class_has_a_gradient():
    student, teacher = maps_of(CASES["DIST, two classes"], (4, 2))
    gradients = []
    for gamma in (0.0, 1.0):
        ours = student.clone().requires_grad_()
        akd.DISTLoss(gamma=gamma)(ours, teacher).backward()
        gradients.append(ours.grad.abs().sum().item())
    assert gradients[0] == 0 < gradients[1]


def test_pixels_are_averaged_in_windows_first():
    maps = maps_of(CASES["CIRKD"], (4, 4))
    pooled = []
    for batch in maps:
        windows = [np.stack(loops.nodes(image, 2, np.mean), 1) for image in batch.numpy()]
        pooled.append(np.stack(windows)[..., None])
    value = akd.CrossImageRelationLoss(pooling=2)(*maps)
    assert value.item() == pytest.approx(loops.cross_image(*pooled), rel=1e-10)
