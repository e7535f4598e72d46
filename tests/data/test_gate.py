# SPDX-License-Identifier: Apache-2.0
"""What voxels must be: image, label, and both together."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_monai.data.gate import (
    check_classes,
    check_grids,
    check_share,
    check_voxels,
    class_counts,
    constant_value,
    poor_contrast,
    rounded,
)
from akd_monai.data.nifti import FileError


def code_of(check, *arguments, **options):
    """Return the code of the fault that a check finds, ``None`` if it finds none."""
    with contextlib.suppress(FileError):
        check(*arguments, **options)
        return None
    with pytest.raises(FileError) as caught:
        check(*arguments, **options)
    assert caught.value.remedy
    return caught.value.code


@pytest.mark.fault(
    "Volumes",
    "one NaN or infinite voxel",
    injected="one voxel of an array",
    outcome="found",
)
@pytest.mark.parametrize(
    ("value", "code"),
    [(np.nan, "not-finite"), (np.inf, "not-finite"), (-np.inf, "not-finite"), (-2e30, "extreme-values"), (1e29, None)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_voxel_is_enough(value, code, dtype):
    voxels = np.zeros((3, 4, 5), dtype)
    voxels[1, 2, 3] = value
    assert code_of(check_voxels, voxels) == code


def test_integers_need_no_check_and_a_constant_is_found():
    assert code_of(check_voxels, np.full(3, 2**62)) is None
    assert constant_value(np.full(4, 7.5)) == 7.5
    assert constant_value(np.array([1, 2])) is None


LABELS = [
    ([0, 1], (0, 1), None),
    ([0], (0, 1), None),
    ([0, 0.9999], (0, 1), None),
    ([0, 1.0005, 1], (0, 1), None),
    ([0, 0.998], (0, 1), "label-fractions"),
    ([0, 0.5, 1], None, "label-fractions"),
    ([0, 1, 2], (0, 1), "label-values"),
    ([0, 1, 2], (0, 1, 2), None),
    ([0, 3], (0, 1, 2), "label-values"),
    ([0, 255], (0, 1), "label-values"),
    ([0, 255], None, None),
    ([-1, 0], None, "label-values"),
    ([0, 1e9], (0, 1), "label-values"),
    ([0, np.nan], None, "not-finite"),
    ([0, np.inf], None, "not-finite"),
]


@pytest.mark.parametrize(("values", "allowed", "code"), LABELS)
def test_what_a_label_may_hold(values, allowed, code):
    def check(array):
        check_classes(class_counts(array), allowed)

    assert code_of(check, np.array(values, np.float64)) == code
    if all(np.isfinite(values)) and all(value == int(value) for value in values):
        assert code_of(check, np.array(values, np.int64)) == code


def test_remedies_name_what_was_found():
    for values, words in (
        ({0: 1, 255: 2}, "map 255 to 1: run verify with --fix"),
        ({-1: 1, 0: 2}, "negative values"),
        ({0: 1, 2: 2}, "zones of the gland"),
        ({0: 1, 3: 1, 7: 2}, "map 3, 7 to 1 if they are the gland"),
    ):
        with pytest.raises(FileError) as caught:
            check_classes(values, (0, 1))
        assert words in caught.value.remedy
    with pytest.raises(FileError, match=r"unexpected label values \(value: voxels\) 0: 1, 255: 2;"):
        check_classes({0: 1, 255: 2}, (0, 1))


@given(st.lists(st.integers(-3, 70_000), min_size=1, max_size=30), st.sampled_from(["i8", "f4", "f8", "i4"]))
@settings(max_examples=100, deadline=None)
def test_classes_are_counted_as_by_numpy(values, dtype):
    array = np.array(values, dtype)
    found, counts = np.unique(array, return_counts=True)
    assert class_counts(array) == dict(zip(found.tolist(), counts.tolist(), strict=True))


def test_rounding_moves_what_rounding_has_moved():
    assert rounded(np.array([0.0004, 1.0009])).tolist() == [0, 1]
    assert rounded(np.array([0.0004, 1.002])).tolist() == [0.0004, 1.002]
    integers = np.array([1, 2])
    assert rounded(integers) is integers


@pytest.mark.fault(
    "Volumes",
    "an inverted label",
    injected="nearly every voxel marked",
    outcome="refused",
)
@pytest.mark.parametrize(("background", "code"), [(10, None), (9, "label-full"), (0, "label-full"), (100, None)])
def test_a_label_that_covers_nearly_all_is_refused(background, code):
    assert code_of(check_share, {0: background, 1: 100 - background}) == code


def test_one_grid_is_one_shape_and_one_place():
    shape = (4, 5, 6)
    near = np.eye(4)
    near[0, 3] = 0.09
    far = np.eye(4)
    far[0, 3] = 0.11
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    assert code_of(check_grids, (shape, np.eye(4)), (shape, near)) is None
    assert code_of(check_grids, (shape, np.eye(4)), (shape, far)) == "affine-mismatch"
    assert code_of(check_grids, (shape, np.eye(4)), (shape, turned)) == "affine-mismatch"
    assert code_of(check_grids, (shape, np.eye(4)), ((5, 4, 6), np.eye(4))) == "shape-mismatch"
    assert code_of(check_grids, (shape, np.eye(4)), (shape, np.full((4, 4), np.nan))) == "affine-mismatch"


def ball(value=1, dtype=np.int16):
    image = np.zeros((20, 20, 20), dtype)
    image[5:15, 5:15, 5:15] = value
    return image


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (ball(7), "holds two values only (0 and 7), as a mask does"),
        (ball(0.5, np.float32), "holds two values only (0 and 0.5), as a mask does"),
        # 16 of 8000 voxels differ
        (np.where(np.arange(8000) % 500 == 3, np.arange(8000), 4), "has the value 4 in 99.80% of its voxels"),
        # 2 % differ: dark, but an image
        (np.where(np.arange(8000) % 50 == 3, np.arange(8000), 4), ""),
        (np.arange(8000), ""),
        (ball() + ball()[::-1, :, ::-1] * 2 + (np.arange(20) % 3 == 0), ""),
    ],
    ids=["mask", "fraction", "one value", "dark", "gradient", "three values"],
)
def test_an_image_without_contrast_is_told_in_words(image, words):
    assert poor_contrast(image) == words


def test_one_bright_voxel_outside_of_the_sample_is_seen_by_the_count_of_all():
    image = np.zeros((100, 100, 40))
    image[3, 7, 11] = 9
    assert poor_contrast(image) == "has the value 0 in 100.00% of its voxels"
