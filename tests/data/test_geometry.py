# SPDX-License-Identifier: Apache-2.0
"""Grids against their definition, point by point."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import affine_to_spacing, orientation_ras_lps

from akd_monai.data.geometry import (
    GRID_TOLERANCE_MM,
    affine_from_lps,
    affine_problem,
    corner_distance_mm,
    orientation_of,
    shifted,
    spacing_of,
    turned_to,
)


def affine_of(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    direction, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return affine_from_lps(direction, generator.uniform(0.2, 4, 3), generator.normal(0, 100, 3))


def place(affine, index) -> list[float]:
    return [sum(affine[row, axis] * index[axis] for axis in range(3)) + affine[row, 3] for row in range(3)]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_spacing_is_the_distance_between_neighbours(seed):
    affine = affine_of(seed)
    origin = place(affine, (0, 0, 0))
    for axis, index in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        assert spacing_of(affine)[axis] == pytest.approx(math.dist(place(affine, index), origin), rel=1e-9)
    assert spacing_of(affine) == tuple(affine_to_spacing(affine))


def test_lps_becomes_ras_by_two_signs():
    direction = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    affine = affine_from_lps(direction, (2.0, 3.0, 4.0), (10.0, 20.0, 30.0))
    # index (1, 0, 0) lies 2 mm further along the second axis of LPS, so at y = 22; RAS negates x and y
    np.testing.assert_array_equal(place(affine, (1, 0, 0)), [-10, -22, 30])
    np.testing.assert_array_equal(place(affine, (0, 1, 0)), [-13, -20, 30])
    lps = np.eye(4)
    lps[:3, :3] = direction * [2.0, 3.0, 4.0]
    lps[:3, 3] = [10.0, 20.0, 30.0]
    np.testing.assert_array_equal(affine, orientation_ras_lps(lps))


@given(seed=st.integers(0, 10_000), index=st.tuples(*[st.floats(-5, 50)] * 3))
@settings(max_examples=50, deadline=None)
def test_a_shifted_grid_begins_at_the_index(seed, index):
    affine = affine_of(seed)
    before = affine.copy()
    moved = shifted(affine, index)
    np.testing.assert_allclose(moved[:3, 3], place(affine, index), rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(moved[:, :3], affine[:, :3])
    np.testing.assert_array_equal(affine, before)


@given(seed=st.integers(0, 1000), shape=st.tuples(*[st.integers(1, 40)] * 3))
@settings(max_examples=50, deadline=None)
def test_the_distance_is_that_of_the_worst_corner(seed, shape):
    first = affine_of(seed)
    second = affine_of(seed + 1)
    corners = itertools.product(*((0, length - 1) for length in shape))
    expected = max(math.dist(place(first, corner), place(second, corner)) for corner in corners)
    assert corner_distance_mm(first, second, shape) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_shared_offset_costs_no_digit():
    far = np.eye(4)
    far[:3, 3] = 1e9
    moved = far.copy()
    moved[0, 0] += 1e-9
    assert corner_distance_mm(far, moved, (2, 2, 2)) == pytest.approx(1e-9, rel=1e-6)
    assert GRID_TOLERANCE_MM == 0.1


@pytest.mark.parametrize(
    ("affine", "problem"),
    [
        (np.eye(4), None),
        (np.diag([1e-3, 0.5, 3, 1]), None),
        (np.diag([1, np.nan, 1, 1]), "holds NaN or Inf"),
        (np.diag([1, 0, 1, 1.0]), "has an axis of length 0"),
        (
            np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
            "is singular: two of its axes are parallel",
        ),
    ],
)
def test_affines_that_describe_no_grid(affine, problem):
    assert affine_problem(affine) == problem


@pytest.mark.parametrize("wanted", ["LPS", "RAS", "PIR", "SAL"])
@pytest.mark.parametrize("seed", range(5))
def test_a_turned_volume_has_every_voxel_where_it_was(wanted, seed):
    affine = np.round(affine_of(seed), 1)
    array = np.arange(24).reshape(2, 3, 4)
    turned, new_affine, done = turned_to(array, affine, wanted)
    assert orientation_of(new_affine) == wanted
    where = {int(array[index]): place(affine, index) for index in np.ndindex(array.shape)}
    for index in np.ndindex(turned.shape):
        np.testing.assert_allclose(place(new_affine, index), where[int(turned[index])], atol=1e-9)
    again, same_affine, nothing = turned_to(turned, new_affine, wanted)
    assert nothing == []
    np.testing.assert_array_equal(again, turned)
    np.testing.assert_array_equal(same_affine, new_affine)
    assert (done == []) == (orientation_of(affine) == wanted)


def test_what_was_done_is_said_in_words():
    _, _, done = turned_to(np.zeros((2, 3, 4)), np.eye(4)[[1, 0, 2, 3]], "LAS")
    assert done == ["axes permuted (ARS to LAS)", "flipped axis 1 (R to L)"]
