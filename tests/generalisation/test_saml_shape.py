# SPDX-License-Identifier: Apache-2.0
"""Compactness, contours, rings and triplets against values by hand, loops in float64, and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from akd_monai.generalisation._episode import chosen_regions, clipped, shape_compactness
from akd_monai.generalisation._shape import (
    background_ring,
    compactness,
    contour,
    masked_mean,
    triplet_semihard,
)

SHAPES = {
    "square": np.pad(np.ones((6, 6)), 5),
    "at the border": np.pad(np.ones((4, 7)), ((0, 10), (0, 5))),
    "two parts with a hole": np.kron([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]], np.ones((4, 3))),
    "a pixel": np.pad(np.ones((1, 1)), 7),
    "everything": np.ones((5, 6)),
    "nothing": np.zeros((5, 6)),
}


def by_loop(probability: np.ndarray) -> float:
    length = 0.0
    rows, columns = probability.shape
    for i in range(1, rows):
        for j in range(1, columns):
            down = probability[i, j] - probability[i - 1, j]
            right = probability[i, j] - probability[i, j - 1]
            length += 0.01 * math.sqrt(down**2 + right**2 + 1e-8)
    return length**2 / (4 * math.pi * max(1.0, probability.sum()))


def triplets_by_loop(embeddings: np.ndarray, labels: list[int], margin: float) -> float:
    distance = [[float(((a - b) ** 2).sum()) for b in embeddings] for a in embeddings]
    values = []
    for a in range(len(labels)):
        negatives = [distance[a][n] for n in range(len(labels)) if labels[n] != labels[a]]
        for p in range(len(labels)):
            if p == a or labels[p] != labels[a]:
                continue
            farther = [d for d in negatives if d > distance[a][p]]
            chosen = min(farther) if farther else max(negatives)
            values.append(max(0.0, margin + distance[a][p] - chosen))
    return sum(values) / len(values)


def test_compactness_of_a_square_by_hand():
    # a square of 4 x 4 has 14 pixels with a step of 1 and one, its first corner, with sqrt(2); 34 others have 1e-4
    square = torch.zeros(1, 8, 8, dtype=torch.float64)
    square[0, 2:6, 2:6] = 1
    length = 0.01 * (14 * math.sqrt(1 + 1e-8) + math.sqrt(2 + 1e-8) + 34e-4)
    assert compactness(square).item() == pytest.approx(length**2 / (4 * math.pi * 16), rel=1e-12)


def test_compactness_of_a_smooth_disc_is_that_of_a_circle():
    # outline 2 pi r and area pi r^2 give 1, times 0.01^2; a blurred edge has the gradient's true length
    rows, columns = np.mgrid[-100:101, -100:101]
    disc = 1 / (1 + np.exp((np.hypot(rows, columns) - 60) / 3))
    value = compactness(torch.from_numpy(disc)[None]).item()
    # 201 x 201 pixels bring 1e-4 each where nothing changes: at most 4 of 377 pixels of outline
    assert 1e-4 <= value <= 1e-4 * (1 + 4 / 377) ** 2
    assert compactness(torch.from_numpy(np.pad(np.ones((60, 60)), 40))[None]).item() > 1.1 * value


@pytest.mark.parametrize("seed", range(3))
def test_compactness_equals_a_loop(seed):
    probability = np.random.default_rng(seed).random((2, 7, 9))
    expected = [by_loop(image) for image in probability]
    np.testing.assert_allclose(compactness(torch.from_numpy(probability)).numpy(), expected, rtol=1e-12)
    # columns and rows count alike, images do not mix
    turned = torch.from_numpy(probability).transpose(1, 2)
    np.testing.assert_allclose(compactness(turned).numpy(), expected, rtol=1e-12)


def test_an_empty_prediction_has_no_pole():
    faint = torch.full((1, 16, 16), 1e-12, dtype=torch.float64, requires_grad=True)
    value = compactness(faint)
    value.sum().backward()
    assert value.item() == pytest.approx((0.01 * 225 * 1e-4) ** 2 / (4 * math.pi), rel=1e-6)
    assert bool(faint.grad.isfinite().all())


def test_images_without_foreground_have_no_shape():
    logits = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label = torch.zeros(3, 1, 6, 6)
    label[1, :, 2:4, 2:4] = 1
    z = logits[1].numpy()
    probability = np.exp(z[1]) / (np.exp(z[0]) + np.exp(z[1]))
    assert shape_compactness(logits, label).item() == pytest.approx(by_loop(probability), rel=1e-10)
    assert shape_compactness(logits, label * 0).item() == 0


@pytest.mark.parametrize("name", SHAPES)
def test_contour_and_ring_are_those_of_scipy(name):
    mask = SHAPES[name]
    tensor = torch.from_numpy(mask)[None]
    inside = mask - ndimage.binary_erosion(mask, iterations=1)
    around = ndimage.binary_dilation(mask, iterations=5) - mask
    np.testing.assert_array_equal(contour(tensor)[0].numpy(), inside)
    np.testing.assert_array_equal(background_ring(tensor)[0].numpy(), around)


def test_mean_over_a_mask_at_the_size_of_the_map_and_at_half_of_it():
    features = torch.arange(8.0, dtype=torch.float64).reshape(2, 2, 2)
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert masked_mean(features, mask).tolist() == [1.5, 5.5]
    # four pixels of the first cell and one of the last: (4 * 0 + 1 * 3) / 5
    fine = torch.zeros(4, 4)
    fine[:2, :2] = 1
    fine[3, 3] = 1
    torch.testing.assert_close(masked_mean(features, fine), torch.tensor([0.6, 4.6], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("labels", [[1, 0, 1, 1, 0], [1, 0, 1], [1, 1, 0, 1]], ids=str)
def test_triplets_equal_a_loop(seed, labels):
    embeddings = np.random.default_rng(seed).normal(0, 1.5, (len(labels), 3))
    value = triplet_semihard(torch.from_numpy(embeddings), torch.tensor(labels), 10.0)
    assert value.item() == pytest.approx(triplets_by_loop(embeddings, labels, 10.0), rel=1e-10)


def test_triplets_by_hand():
    # on a line: contours at 0 and 1, backgrounds at 3 and 0.5; d is squared
    # (0, 1): d = 1, the nearest farther negative is 3 with 9: 2 + 1 - 9 < 0; (1, 0): d = 1, negative 3 with 4: 0
    # (3, 0.5): d = 6.25, farther negatives of 3: 9: 0; (0.5, 3): none is farther, the farthest has 0.25: 2 + 6.25 - 0.25
    line = torch.tensor([[0.0], [1.0], [3.0], [0.5]])
    assert triplet_semihard(line, torch.tensor([1, 1, 0, 0]), 2.0).item() == pytest.approx(8 / 4)


@pytest.mark.parametrize("labels", [[1], [1, 0], [1, 1, 1]], ids=str)
def test_triplets_need_a_pair_and_a_negative(labels):
    embeddings = torch.rand(len(labels), 2, requires_grad=True)
    value = triplet_semihard(embeddings, torch.tensor(labels), 10.0)
    value.backward()
    assert value.item() == 0
    assert embeddings.grad.abs().sum() == 0


def test_regions_are_of_different_images_where_the_site_has_two_with_foreground():
    label = torch.zeros(3, 1, 16, 16)
    label[1:, :, 7:9, 7:9] = 1
    image = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 16, 16)
    regions = chosen_regions([(image, label), (image[:2], label[:2]), (image[:2], label[:2])])
    assert [region.kind for region in regions] == [1, 0, 1, 1, 0]
    assert [region.image[0, 0, 0].item() for region in regions] == [1, 2, 1, 1, 1]
    ring = ndimage.binary_dilation(label[1, 0].numpy(), iterations=5) - label[1, 0].numpy()
    np.testing.assert_array_equal(regions[1].mask.numpy(), ring)


def test_regions_of_sites_without_foreground_are_left_out():
    empty = (torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))
    full = (torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
    assert chosen_regions([empty, empty, empty]) == []
    # a mask that fills the image has a contour and no background around it
    assert [region.kind for region in chosen_regions([full, empty, full])] == [1, 1]


def test_a_gradient_is_clipped_by_its_own_norm():
    long = torch.tensor([[30.0, 40.0]])
    torch.testing.assert_close(clipped(long, 10.0), torch.tensor([[6.0, 8.0]]))
    assert torch.equal(clipped(long, 50.0), long)
    assert torch.equal(clipped(torch.zeros(3), 1.0), torch.zeros(3))
