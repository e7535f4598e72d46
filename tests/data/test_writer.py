# SPDX-License-Identifier: Apache-2.0
"""Masks lie where their images lie, for nibabel and for ITK, and are complete files or none."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, LoadImaged, Orientationd, Resized, SaveImage

from akd_monai.data import CheckedReader, VolumeWriter

SHAPE = (20, 16, 5)
CASE = {"RAS": (1, 1, 1), "LPS": (-1, -1, 1), "LAI": (-1, 1, -1), "RPS": (1, -1, 1)}


def turned(degrees: float, spacing=(0.5, 0.75, 3.0), signs=(-1, -1, 1), offset=(12.5, -40.0, 7.0)) -> np.ndarray:
    """Return an affine that is turned about x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag(np.array(spacing) * signs)
    affine[:3, 3] = offset
    return affine


def write_image(path: Path, qform, sform, codes, units="mm", shape=SHAPE) -> Path:
    """Write an image whose voxels are all different, with this header."""
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), np.eye(4))
    image.set_sform(sform, codes[1])
    image.set_qform(qform, codes[0])
    image.header.set_xyzt_units(units)
    # update_header would write another affine
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.header.get_best_affine(), image.header)
    nib.save(image, path)
    return path


def segmented(path: Path, folder: Path, shape=SHAPE) -> Path:
    """Write the mask of a block of the image through turns, a change of size, and back, as a bundle does."""
    prepare = Compose(
        [
            LoadImaged("image", reader=CheckedReader()),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Resized("image", spatial_size=[24, 24, -1], mode="trilinear"),
        ]
    )
    item = prepare({"image": str(path)})
    item["pred"] = torch.ones_like(item["image"])
    back = Invertd("pred", prepare, orig_keys="image", nearest_interp=False)(item)
    mask = back["pred"].round()
    mask[:, : shape[0] // 2] = 0
    save(folder)(mask)
    return folder / f"{path.name.split('.')[0]}_pred.nii.gz"


def save(folder: Path) -> SaveImage:
    options = {"output_postfix": "pred", "separate_folder": False, "print_log": False, "output_dtype": np.uint8}
    return SaveImage(folder, writer=VolumeWriter, **options)


def itk_grid(path: Path) -> dict[str, np.ndarray]:
    image = itk.imread(str(path))
    direction = itk.array_from_matrix(image.GetDirection())
    return {"origin": np.array(image.GetOrigin()), "spacing": np.array(image.GetSpacing()), "direction": direction}


def assert_same_place(image: Path, mask: Path, atol=1e-4) -> None:
    for name, value in itk_grid(image).items():
        np.testing.assert_allclose(itk_grid(mask)[name], value, atol=atol, err_msg=name)


CODES = [(1, 1), (2, 1), (1, 2), (1, 0), (0, 1), (4, 2)]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("signs", CASE.values(), ids=CASE)
def test_headers_are_those_of_the_image(tmp_path, codes, signs):
    affine = turned(17, signs=signs)
    image = write_image(tmp_path / "t2.nii.gz", affine, affine, codes)
    mask = segmented(image, tmp_path)
    assert_same_header(image, mask)
    assert_same_place(image, mask, atol=0)


def assert_same_header(image: Path, mask: Path) -> None:
    one, two = nib.load(image), nib.load(mask)
    for field in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d", "qoffset_x"):
        assert one.header[field] == two.header[field], field
    np.testing.assert_array_equal(one.header["pixdim"][:4], two.header["pixdim"][:4])
    np.testing.assert_array_equal(one.header.get_sform(), two.header.get_sform())
    np.testing.assert_array_equal(one.affine, two.affine)
    assert one.shape == two.shape
    assert two.get_data_dtype() == np.uint8


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2)])
def test_forms_that_differ_stay_different(tmp_path, codes):
    # as after registration: the sform leads to another space
    image = write_image(tmp_path / "t2.nii.gz", turned(10), turned(-5, offset=(100, 3, -8)), codes)
    mask = segmented(image, tmp_path)
    assert_same_header(image, mask)
    assert_same_place(image, mask, atol=0)
    assert not np.allclose(nib.load(mask).get_qform(), nib.load(mask).get_sform())


@pytest.mark.parametrize(
    ("affine", "shape"),
    [
        (turned(0, spacing=(0.62500001, 0.6249998, 3.3000002)), SHAPE),
        (turned(0), (20, 16, 1)),
        (turned(31), (20, 1, 5)),
        (turned(89.9), SHAPE),
    ],
    ids=["noise", "one slice", "one row", "turned"],
)
def test_odd_grids(tmp_path, affine, shape):
    image = write_image(tmp_path / "t2.nii", affine, affine, (1, 1), shape=shape)
    mask = segmented(image, tmp_path, shape)
    assert_same_header(image, mask)
    assert_same_place(image, mask, atol=0)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3)])
def test_units_stay(tmp_path, unit, factor):
    affine = np.diag([factor, factor, factor, 1]) @ turned(12)
    image = write_image(tmp_path / "t2.nii.gz", affine, affine, (1, 1), units=unit)
    mask = segmented(image, tmp_path)
    assert_same_header(image, mask)
    assert nib.load(mask).header.get_xyzt_units()[0] == unit


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1), (1, -1, -1)])
def test_masks_of_other_formats_lie_in_the_same_place(tmp_path, suffix, signs):
    path = write_image(tmp_path / "t2.nii.gz", turned(23, signs=signs), turned(23, signs=signs), (1, 1))
    image = tmp_path / f"other{suffix}"
    itk.imwrite(itk.imread(str(path)), str(image))
    mask = segmented(image, tmp_path)
    assert_same_place(image, mask)
    written = nib.load(mask)
    np.testing.assert_allclose(written.affine, turned(23, signs=signs), atol=1e-4)
    np.testing.assert_allclose(written.get_qform(), written.get_sform(), atol=1e-4)
    assert written.header.get_xyzt_units()[0] == "mm"
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 1)


def test_marked_voxels_lie_where_they_were_marked(tmp_path):
    # in millimetres, by ITK: the half of the mask that is marked is the half of the image with the higher values
    image = write_image(tmp_path / "t2.nii.gz", turned(17), turned(17), (0, 1))
    mask = segmented(image, tmp_path)
    one, two = itk.imread(str(image)), itk.imread(str(mask))
    marked = np.argwhere(itk.array_from_image(two).T > 0)
    assert len(marked) == np.prod(SHAPE) // 2
    for index in marked[:: len(marked) // 7]:
        place = two.TransformIndexToPhysicalPoint([int(i) for i in index])
        there = one.TransformPhysicalPointToIndex(place)
        assert itk.array_from_image(one).T[tuple(there)] >= np.prod(SHAPE) / 2


def test_a_mask_on_another_grid_has_its_own_affine(tmp_path):
    image = write_image(tmp_path / "t2.nii.gz", turned(17), turned(17), (1, 2))
    for shape, affine in (((1, 10, 16, 5), turned(17)), ((1, *SHAPE), turned(17, offset=(0, 0, 0)))):
        save(tmp_path)(MetaTensor(torch.ones(shape), affine=affine, meta={"filename_or_obj": str(image)}))
        written = nib.load(tmp_path / "t2_pred.nii.gz")
        assert written.shape == shape[1:]
        np.testing.assert_allclose(written.affine, affine, atol=1e-5)
        assert int(written.header["sform_code"]) == 1


@pytest.mark.fault(
    "Masks that are written",
    "stopped while a mask is written",
    injected="the process ends before the file takes its name",
    outcome="no half mask is left",
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_mask_is_complete_or_absent(tmp_path, monkeypatch, suffix):
    def killed(*_):
        raise KeyboardInterrupt

    writer = VolumeWriter(output_dtype=np.uint8)
    writer.set_data_array(torch.ones(1, *SHAPE))
    writer.set_metadata({"affine": np.eye(4)}, resample=False)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.write(tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_equal_masks_are_equal_files(tmp_path):
    mask = MetaTensor(torch.ones(1, *SHAPE), affine=torch.eye(4), meta={"filename_or_obj": "a.nii.gz"})
    save(tmp_path)(mask)
    first = (tmp_path / "a_pred.nii.gz").read_bytes()
    save(tmp_path)(mask)
    assert (tmp_path / "a_pred.nii.gz").read_bytes() == first


def test_an_empty_mask_and_one_of_everything_are_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        half = torch.ones(1, *SHAPE)
        half[:, :10] = 0
        save(tmp_path)(MetaTensor(half, meta={"filename_or_obj": "half.nii.gz"}))
        assert caplog.messages == []
        save(tmp_path)(MetaTensor(torch.zeros(1, *SHAPE), meta={"filename_or_obj": "site/empty.nii.gz"}))
        save(tmp_path)(MetaTensor(torch.ones(1, *SHAPE), meta={"filename_or_obj": "full.nii.gz"}))
    assert caplog.messages == [
        "site/empty.nii.gz: the mask is empty, no voxel is marked.",
        "full.nii.gz: the mask marks 100% of the volume, as of an untrained network, or one for other images.",
    ]


@pytest.mark.fault(
    "Masks that are written",
    "the power fails after a mask was written",
    injected="the order of writing, synchronising and renaming is recorded",
    outcome="the mask is on the disk before it has its name",
)
@pytest.mark.fault(
    "Masks that are written",
    "a power cut after a mask was written",
    injected="order of the calls",
    outcome="on the disk before it has its name",
)
def test_a_mask_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    writer = VolumeWriter(output_dtype=np.uint8)
    writer.set_data_array(torch.ones(1, 4, 4, 2))
    writer.set_metadata({"affine": np.eye(4)})
    writer.write(tmp_path / "mask.nii.gz")
    # the file, its name, and the folder that holds the name
    assert calls == ["sync", "replace", "sync"]
