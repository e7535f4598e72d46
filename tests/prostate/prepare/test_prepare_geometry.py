# SPDX-License-Identifier: Apache-2.0
"""Where voxels end up: sizes, crops, turned axes, and masks that fit better upside down."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from prepare_tools import LPS, gland, grey, run, save, six_site, voxels

from akd_monai.data.geometry import affine_problem, corner_distance_mm, orientation_of, turned_to
from akd_monai.prostate.flip_evidence import flip_evidence
from akd_monai.prostate.prepare._grid import resized, squared
from akd_monai.prostate.prepare._sources.base import Volume
from akd_monai.prostate.prepare._sources.corner_origin import pair_corner_origin


def test_size_keeps_the_physical_extent_and_pads_to_a_square(tmp_path):
    raw, out = six_site(tmp_path / "raw", "HK/Case13"), tmp_path / "out"
    run(raw, out, size=24)
    image, label = nib.load(out / "HK/Case13.nii.gz"), nib.load(out / "HK/Case13_segmentation.nii.gz")
    assert image.shape == label.shape == (24, 24, 5)
    np.testing.assert_array_equal(image.affine, label.affine)
    np.testing.assert_allclose(np.abs(np.diag(image.affine)[:3]), [0.25, 0.25, 3])
    # 12 x 10 pixels of 0.5 mm, padded by one row on each side: its outer corner lies half a pixel before (0, -1).
    np.testing.assert_allclose(image.affine @ [-0.5, -0.5, 0, 1], LPS @ [-0.5, -1.5, 0, 1])
    np.testing.assert_array_equal(np.asanyarray(label.dataobj)[8:16, 8:16, 1:4], 1)
    assert np.asanyarray(label.dataobj).sum() == 4 * gland().sum()


def test_linear_values_and_nearest_labels_by_hand():
    ramp = np.tile(np.arange(8, dtype=np.int16)[:, None, None] * 100, (1, 8, 2))
    # Twice the pixels: new centres lie a quarter of a pixel beside the old ones; the border repeats.
    expected = np.rint(np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7) * 100)
    np.testing.assert_array_equal(resized(ramp, LPS, 16)[0][:, 3, 1], expected)
    steps = (np.arange(9) // 3).astype(np.uint8)[:, None, None] * np.ones((1, 9, 1), dtype=np.uint8)
    np.testing.assert_array_equal(resized(steps, LPS, 3, is_label=True)[0][:, 0, 0], [0, 1, 2])


@pytest.mark.parametrize(("shape", "size"), [((12, 12, 5), 24), ((9, 9, 2), 13), ((30, 30, 3), 8)])
def test_the_resampled_grid_keeps_the_outer_edges(shape, size):
    tilt = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag([-0.37, -0.37, 3.3])
    affine[:3, 3] = [101.3, -7.7, 33.1]
    _, grid = resized(np.ones(shape, dtype=np.int16), affine, size)
    # Corners of the volume lie half a voxel outside the centres of its first and last voxels.
    first, last = np.array([-0.5, -0.5, 0, 1]), np.array([shape[0] - 0.5, shape[1] - 0.5, shape[2] - 1, 1])
    new_last = np.array([size - 0.5, size - 0.5, shape[2] - 1, 1])
    np.testing.assert_allclose(grid @ first, affine @ first, atol=1e-12)
    np.testing.assert_allclose(grid @ new_last, affine @ last, atol=1e-12)


@pytest.mark.parametrize(("count", "first"), [(5, 1), (6, 1), (7, 2)])
def test_a_crop_to_four_starts_where_it_did_in_the_first_version(count, first):
    values = np.arange(1, count + 1)[:, None, None] * np.ones((1, count, 1), dtype=int)
    np.testing.assert_array_equal(squared(values, LPS, 2.0)[0][:, 0, 0], np.arange(first, first + 4) + 1)


def test_padding_takes_the_darkest_value_of_the_volume_even_if_it_is_cut_off():
    values = np.full((8, 2, 1), 7)
    values[0] = 3
    square, _ = squared(values, LPS, 2.0)
    np.testing.assert_array_equal(square[:, :, 0], [[3, 7, 7, 3]] * 4)


@pytest.mark.parametrize("width", [4.0, 5.0, 5.5, 7.0])
def test_a_square_keeps_every_voxel_in_its_place(width):
    values, grid = squared(grey(), LPS, width)
    assert values.shape[:2] == (round(width / 0.5),) * 2
    for index in np.argwhere(values > 0)[::17]:
        old = np.rint(np.linalg.inv(LPS) @ grid @ [*index, 1])[:3].astype(int)
        if ((old >= 0) & (old < grey().shape)).all():
            assert values[tuple(index)] == grey()[tuple(old)]


def test_a_crop_that_cuts_the_gland_is_refused(tmp_path):
    raw = tmp_path / "raw"
    wide = np.diag([-5.0, -5.0, 3.0, 1.0])
    save(raw / "HK/Case13.nii.gz", grey(), wide)
    save(raw / "HK/Case13_segmentation.nii.gz", gland(), wide)
    assert [f.code for f in run(raw, tmp_path / "out", crop_mm=15).failed] == ["crop"]
    assert run(raw, tmp_path / "out", crop_mm=25).done == ["HK/Case13"]
    assert voxels(tmp_path / "out/HK/Case13.nii.gz").shape == (5, 5, 5)


@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 0, 0), (0, 1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_turning_moves_no_voxel(flips, order):
    tilt = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
    affine = np.eye(4)
    affine[:3, :3] = (tilt @ np.diag([0.5, 0.6, 3]))[:, order] @ np.diag([-1.0 if f else 1.0 for f in flips])
    affine[:3, 3] = [4, 5, 6]
    values, grid, _ = turned_to(grey(), affine, "LPS")
    assert orientation_of(grid) == "LPS"
    back = np.linalg.inv(affine) @ grid
    for index in ([0, 0, 0], [1, 2, 3], [s - 1 for s in values.shape]):
        old = back @ [*index, 1]
        np.testing.assert_allclose(old, np.rint(old), atol=1e-6)
        assert values[tuple(index)] == grey()[tuple(np.rint(old[:3]).astype(int))]


def test_geometry_by_hand():
    moved = LPS.copy()
    moved[0, 3] = 0.3
    assert corner_distance_mm(LPS, moved, (4, 4, 4)) == pytest.approx(0.3)
    turned = np.diag([0.5, -0.5, 3, 1])
    assert corner_distance_mm(LPS, turned, (5, 3, 2)) == pytest.approx(4 * 0.5 * 2)
    assert affine_problem(LPS) is None
    assert affine_problem(np.diag([0, 1, 1, 1.0])) == "has an axis of length 0"
    flat = np.eye(4)
    flat[:3, 1] = flat[:3, 0]
    assert affine_problem(flat) == "is singular: two of its axes are parallel"
    assert affine_problem(np.full((4, 4), np.nan)) == "holds NaN or Inf"


def painted_gland():
    """A synthetic gland that is wider at the back and leans forwards on the way up, painted into an image."""
    x, y, z = np.meshgrid(np.arange(60), np.arange(60), np.arange(14), indexing="ij")
    forward = y + 1.5 * (z - 7) - 30
    half_width = np.where(forward > 0, 15, 10) * np.sqrt(np.clip(1 - ((z - 7) / 6.0) ** 2, 0, 1))
    mask = (np.abs(x - 30) < half_width) & (forward > -12) & (forward < 8)
    noise = np.random.default_rng(0).normal(0, 5, mask.shape)
    return (100 + 80 * mask + noise).astype(np.float32), mask


@pytest.mark.parametrize("affine", [np.diag([-1, -1, 3.0, 1]), np.diag([1, 1, 3.0, 1]), np.diag([1, -1, -3.0, 1])])
def test_flip_evidence_prefers_the_mask_as_it_is(affine):
    image, mask = painted_gland()
    # The synthetic gland is drawn in LPS; here it is stored along other axes, with the affine that says so.
    signs = [int(np.sign(a)) for a in (-affine[0, 0], -affine[1, 1], affine[2, 2])]
    image, mask = image[:: signs[0], :: signs[1], :: signs[2]], mask[:: signs[0], :: signs[1], :: signs[2]]
    upright = flip_evidence(image, mask, affine)
    assert upright["P"] > 4
    assert upright["S"] > 4
    assert flip_evidence(image, mask[:, ::-1], affine)["P"] < -4
    assert flip_evidence(image, mask[:, :, ::-1], affine)["S"] < -4
    assert flip_evidence(image, np.zeros_like(mask), affine) == {"P": 0.0, "S": 0.0}


@pytest.mark.parametrize("turned", [False, True])
def test_a_truth_file_that_fits_better_upside_down_is_warned_of(turned):
    image, mask = painted_gland()
    affine = np.diag([-1, -1, 3.0, 1])
    corner = affine.copy()
    corner[:3, 3] -= affine[:3, :3] @ [0.5, 0.5, 0.5]
    label = Volume(mask[:, :, ::-1] if turned else mask, corner)
    pair = pair_corner_origin(Volume(image, affine), label, "x_truth.nrrd", both_orders=True)
    assert [("upside down" in text) for text in pair.warnings] == ([True] if turned else [])
    np.testing.assert_array_equal(pair.label.array, label.array)
