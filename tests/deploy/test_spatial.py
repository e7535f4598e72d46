# SPDX-License-Identifier: Apache-2.0
"""Spatial transforms without PyTorch: MONAI's voxels forwards, MONAI's voxels backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai import transforms
from monai.data import MetaTensor

from akd_monai.deploy._spatial import SPATIAL
from akd_monai.deploy._steps import Volume, read_step
from akd_monai.errors import InputError

C, S = np.cos(0.3), np.sin(0.3)
AFFINES = {
    "straight": np.diag([1.0, 1, 3, 1]),
    "flipped": np.diag([-0.7, -0.9, 2.5, 1]),
    "oblique": np.array([[0.8 * C, -0.8 * S, 0, 5], [0.8 * S, 0.8 * C, 0, -7], [0, 0, 2.7, 9], [0, 0, 0, 1]]),
    # of single precision, as a file has it: its axes are at right angles to 1e-7 only
    "from a file": np.array([[0.8 * C, -0.8 * S, 0, 5], [0.8 * S, 0.8 * C, 0, -7], [0, 0, 1.6, 9], [0, 0, 0, 1]])
    .astype(np.float32)
    .astype(float),
    "permuted": np.array([[0, 0.9 * C, 3 * S, 5], [-0.8, 0, 0, 7], [0, 0.9 * S, -3 * C, 1], [0, 0, 0, 1]]),
}
STEPS = [
    ("Orientation", {"axcodes": "RAS"}, {"labels": None}),
    ("Orientation", {"axcodes": "PIR"}, {"labels": None}),
    ("Resize", {"spatial_size": [16, 12, -1]}, {"mode": "trilinear"}),
    ("Spacing", {"pixdim": [1.1, 1.3, 2.1]}, {}),
    ("Spacing", {"pixdim": [0.53, 0.61, 3.1]}, {"align_corners": True}),
]


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize(("name", "arguments", "of_monai"), STEPS)
@pytest.mark.parametrize("nearest", [False, True])
def test_there_and_back_as_monai(name, arguments, of_monai, affine, nearest):
    array = np.random.default_rng(0).normal(0, 10, (1, 13, 10, 6)).astype(np.float32)
    transform = getattr(transforms, f"{name}d")("image", **arguments, **of_monai)
    theirs = transform({"image": MetaTensor(torch.from_numpy(array.copy()), affine=torch.from_numpy(affine))})["image"]
    step = read_step(SPATIAL, name, arguments, "a test")
    volume = Volume(array, affine)
    moved = step.apply(volume)
    assert moved.grid.shape == tuple(theirs.shape[1:])
    np.testing.assert_allclose(moved.array, theirs.numpy(), atol=2e-4)
    np.testing.assert_allclose(moved.affine, theirs.affine.numpy(), atol=1e-6)

    answer = np.random.default_rng(1).normal(0, 10, (2, *moved.grid.shape)).astype(np.float32)
    invert = transforms.Invertd("pred", transform, orig_keys="image", nearest_interp=nearest)
    back = invert({"image": theirs, "pred": MetaTensor(torch.from_numpy(answer.copy()))})["pred"].numpy()
    found = step.undo(answer, volume.grid, moved.grid, nearest)
    if nearest:
        # a place halfway between two voxels may go either way
        assert (np.abs(found - back) > 2e-4).mean() < 0.02
    else:
        np.testing.assert_allclose(found, back, atol=2e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Orientation", {"axcodes": "XYZ"}, "arguments that do not fit"),
        ("Resize", {"spatial_size": [16, 16]}, "spatial_size must have three entries"),
        ("Resize", {"spatial_size": [16, 16, -1], "mode": "area"}, "Resize with mode = 'area'"),
        ("Spacing", {"pixdim": [1.0, 1.0, 0.0]}, "pixdim must be above 0"),
        ("Spacing", {"pixdim": [1.0, 1.0, 2.0], "diagonal": True}, "Spacing with diagonal = True"),
        ("CropForeground", {}, "has CropForeground, which cannot run without PyTorch; known are Orientation, Resize,"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(name, arguments, message):
    with pytest.raises(InputError, match=message):
        read_step(SPATIAL, name, arguments, "a test")
