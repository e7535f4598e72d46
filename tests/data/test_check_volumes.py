# SPDX-License-Identifier: Apache-2.0
"""Image and label of a case are checked as they were loaded, in any pipeline of MONAI."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Resized
from volume_tools import AFFINE, gland, grey, nifti, put

from akd_monai.data import CheckVolumesd, SliceDataset
from akd_monai.errors import InputError

BOTH = ("image", "label")
SHAPE = (12, 10, 5)
READER = "akd_monai.data.CheckedReader"
MIRRORED = np.diag([0.5, -0.5, 3.0, 1.0])
FAR = AFFINE.copy()
FAR[2, 3] = 40


def pipeline(*, reader=READER, check=True):
    steps = [LoadImaged(BOTH, reader=reader), EnsureChannelFirstd(BOTH)]
    if check:
        steps.append(CheckVolumesd(BOTH, label_key="label"))
    resize = Resized(BOTH, spatial_size=(16, 16, -1), mode=("trilinear", "nearest-exact"))
    return Compose([*steps, Orientationd(BOTH, axcodes="RAS", labels=None), resize])


def case(folder, image=None, label=None):
    """Write a case from the bytes of its files."""
    image = nifti(grey(SHAPE)) if image is None else image
    label = nifti(gland(SHAPE)) if label is None else label
    paths = {"image": put(folder / "HK/Case13.nii.gz", image)}
    paths["label"] = put(folder / "HK/Case13_segmentation.nii.gz", label)
    return {"case_id": "HK/Case13", **{key: str(path) for key, path in paths.items()}}


def mask(change, dtype=np.float32):
    return nifti(np.asarray(change(gland(SHAPE).astype(dtype)), dtype))


def with_value(value):
    def change(array):
        array[0, 0, 0] = value
        return array

    return change


# What verify refuses, and training did not.
BAD = {
    "shifted by 40 mm": (None, nifti(gland(SHAPE), FAR), "the grid of the mask lies up to 40.0 mm beside the image's"),
    "mirrored": (None, nifti(gland(SHAPE), MIRRORED), "the grid of the mask lies up to 11.0 mm beside the image's"),
    "other size": (None, nifti(gland((10, 10, 5))), "the mask has shape [10, 10, 5], the image [12, 10, 5]"),
    "NaN in the mask": (None, mask(with_value(np.nan)), "holds 1 voxels that are NaN or Inf"),
    "-1": (None, mask(with_value(-1)), "unexpected label values (value: voxels) -1: 1"),
    "0/255": (None, mask(lambda a: a * 255), "255: "),
    "0/3": (None, mask(lambda a: a * 3), "3: "),
    "0.5": (None, mask(with_value(0.5)), "holds fractions"),
    "full": (None, mask(np.ones_like), "marks 100% of all voxels"),
    "inverted": (None, mask(lambda a: 1 - a), "of all voxels"),
    "one-hot": (None, nifti(np.stack([1 - gland(SHAPE), gland(SHAPE)], -1)), "expected three axes"),
    "NaN": (nifti(with_value(np.nan)(grey(SHAPE, np.float32))), None, "holds 1 voxels that are NaN or Inf"),
    "Inf": (nifti(with_value(np.inf)(grey(SHAPE, np.float32))), None, "holds 1 voxels that are NaN or Inf"),
    "1e38": (nifti(with_value(1e38)(grey(SHAPE, np.float32))), None, "holds values up to 1e+38"),
    "no affine": (nifti(grey(SHAPE), qform_code=0, sform_code=0), None, "has no affine"),
    "2-D": (nifti(grey((12, 10))), None, "expected three axes"),
}


@pytest.mark.fault(
    "Volumes",
    "a bad image or mask in training and validation",
    injected="16 faults: shifted, mirrored, NaN, -1, 0/255, 0/3, fractions, full, inverted, one-hot and others",
    outcome="refused at both doors, with file and remedy",
)
@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("door", ["training", "validation"])
def test_what_verify_refuses_is_refused(tmp_path, fault, door):
    image, label, words = BAD[fault]
    data = [case(tmp_path, image, label)]
    with pytest.raises((InputError, RuntimeError)) as caught:
        SliceDataset(data, pipeline()) if door == "training" else CacheDataset(data, pipeline(), progress=False)
    error = caught.value
    while not isinstance(error, InputError):
        error = error.__cause__
    assert words in str(error)
    assert str(tmp_path / "HK/Case13") in str(error)
    assert error.remedy
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "fault", ["shifted by 40 mm", "mirrored", "other size", "-1", "0/255", "0/3", "0.5", "full", "Inf"]
)
def test_without_the_check_it_passes_in_silence(tmp_path, fault):
    """The faults above are real."""
    image, label, _ = BAD[fault]
    pipeline(reader=None, check=False)(case(tmp_path, image, label))


def test_a_good_case_is_unchanged(tmp_path, caplog):
    data = case(tmp_path)
    first = pipeline(reader=None, check=False)(data)
    second = pipeline()(data)
    assert all(torch.equal(first[key], second[key]) for key in BOTH)
    assert caplog.messages == []


@pytest.mark.fault(
    "Volumes",
    "a constant image, an empty mask",
    injected="in a training set",
    outcome="said once a case",
)
def test_what_is_odd_is_said_once_a_case(tmp_path, caplog):
    data = case(tmp_path, nifti(np.full(SHAPE, 7, np.int16)), mask(np.zeros_like))
    pipeline()(data)
    assert caplog.messages == [
        f"case HK/Case13, {data['image']!r} is constant: every voxel is 7.",
        f"case HK/Case13, {data['label']!r} marks no voxel.",
    ]


def test_a_value_moved_by_the_slope_is_an_integer_again(tmp_path):
    stored = gland(SHAPE).astype(np.int16) * 10000
    data = case(tmp_path, label=nifti(stored, scl_slope=0.00009999, scl_inter=0))
    assert nib.load(data["label"]).get_fdata().max() == pytest.approx(0.9999)
    label = pipeline()(data)["label"]
    assert isinstance(label, MetaTensor)
    assert label.unique().tolist() == [0, 1]
    fraction = case(tmp_path, label=nifti(stored, scl_slope=0.00009, scl_inter=0))
    with pytest.raises(RuntimeError) as caught:
        pipeline()(fraction)
    assert "holds fractions" in str(caught.value.__cause__)


def test_classes_and_keys_are_the_callers(tmp_path):
    data = case(tmp_path, label=mask(lambda a: a * 2))
    loaded = EnsureChannelFirstd(BOTH)(LoadImaged(BOTH)(data))
    CheckVolumesd(BOTH, label_key="label", label_values=(0, 1, 2))(loaded)
    CheckVolumesd("image")(loaded)
    CheckVolumesd(("image", "none"), allow_missing_keys=True)(loaded)
    with pytest.raises(InputError, match=r"2: \d+; if 1 and 2 are zones of the gland"):
        CheckVolumesd(BOTH, label_key="label")(loaded)


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (4, 4, 4), (1, 4, 4), (1, 4, 4, 0)])
def test_channels_and_axes(shape):
    with pytest.raises(InputError, match=r"case without a name, 'image': has shape .*, expected one channel and three"):
        CheckVolumesd("image")({"image": torch.zeros(shape)})


def test_several_channels_of_an_image(tmp_path, caplog):
    image = nifti(np.stack([grey(SHAPE), np.zeros(SHAPE, np.int16)], axis=-1))
    loaded = EnsureChannelFirstd(BOTH)(LoadImaged(BOTH)(case(tmp_path, image)))
    CheckVolumesd(BOTH, label_key="label", channels=2)(loaded)
    assert [message.endswith(" is constant: every voxel is 0.") for message in caplog.messages] == [True]
    with pytest.raises(InputError, match="expected one channel and three axes"):
        CheckVolumesd(BOTH, label_key="label")(loaded)
    one_hot = {**loaded, "label": torch.cat([loaded["label"]] * 2)}
    with pytest.raises(InputError, match="expected one channel and three axes"):
        CheckVolumesd(BOTH, label_key="label", channels=2)(one_hot)


def test_files_are_read_once(tmp_path, monkeypatch):
    """A training data set tests the files of other readers itself."""
    calls = []
    monkeypatch.setattr("akd_monai.data._case_transform.read_nifti", calls.append)
    SliceDataset([case(tmp_path)], pipeline())
    assert calls == []
    SliceDataset([case(tmp_path)], pipeline(reader=None, check=False))
    assert len(calls) == 2


@pytest.mark.fault(
    "Volumes",
    "a mask in the place of an image",
    injected="an image of 0 and 1",
    outcome="a warning with the file",
)
def test_a_mask_that_is_given_as_the_image_is_told(tmp_path, caplog):
    data = case(tmp_path, image=nifti(gland(SHAPE)))
    pipeline()(data)
    place = f"case HK/Case13, {data['image']!r}"
    assert caplog.messages == [f"{place} holds two values only (0 and 1), as a mask does: is it the right image?"]
