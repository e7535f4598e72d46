# SPDX-License-Identifier: Apache-2.0
"""Volumes to be segmented are found, and written with the shape of their image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage, SaveImage

from akd_monai.data import VolumeWriter, input_volumes, require_volumes
from akd_monai.errors import InputError


def test_images_of_any_folder_are_found_and_masks_are_not(tmp_path):
    names = ["b.nii.gz", "a.NII", "sub/deep/c.mha", "d.nrrd", "e.mhd"]
    others = ["a_segmentation.nii.gz", "sub/C_Segmentation.mha", "._b.nii.gz", "notes.txt", "f.nii.gz.part"]
    others += ["b_pred.nii.gz", "sub/mask.nii", "c_seg.nii.gz", "d_ROI.nrrd", "labelsTr/b.nii.gz", ".cache/b.nii.gz"]
    for name in (*names, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert input_volumes(tmp_path) == [str(tmp_path / name) for name in sorted(names)]
    assert input_volumes(str(tmp_path / "notes.txt")) == [str(tmp_path / "notes.txt")]


def test_a_mask_named_by_its_path_is_taken(tmp_path):
    (tmp_path / "a_mask.nii.gz").touch()
    assert input_volumes(tmp_path) == []
    assert input_volumes(tmp_path / "a_mask.nii.gz") == [str(tmp_path / "a_mask.nii.gz")]


def test_folders_above_the_given_one_do_not_matter(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.nii.gz").touch()
    assert input_volumes(tmp_path) == []
    assert input_volumes(tmp_path / "labels") == [str(tmp_path / "labels" / "a.nii.gz")]


def test_a_folder_is_no_volume_and_a_broken_link_stays_to_be_named(tmp_path):
    (tmp_path / "a.nii.gz").mkdir()
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "nowhere")
    assert input_volumes(tmp_path) == [str(tmp_path / "b.nii.gz")]


def test_the_output_folder_is_not_read(tmp_path, monkeypatch):
    for name in ("a.nii.gz", "out/b.nii.gz", "outer/c.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert input_volumes(".", output_dir=tmp_path / "out") == ["a.nii.gz", "outer/c.nii.gz"]
    # only what lies below: the folder itself and one above it hold images
    for output in (".", "..", None):
        assert len(input_volumes(tmp_path, output_dir=output)) == 3


def test_skipped_masks_are_named_in_one_line(tmp_path, caplog):
    for name in ["a.nii.gz", *(f"{letter}_seg.nii.gz" for letter in "abcdefg")]:
        (tmp_path / name).touch()
    require_volumes(input_volumes(tmp_path), tmp_path)
    names = ", ".join(f"{letter}_seg.nii.gz" for letter in "abcde")
    skipped = f"skipped as masks or predictions, by their names: {names} and 2 more; give one by its path to use it."
    assert caplog.messages == [skipped]
    (tmp_path / "a.nii.gz").unlink()
    with pytest.raises(
        InputError, match=r"holds no volume but masks or predictions, by their names \(a_seg.* and 2 more"
    ):
        require_volumes(input_volumes(tmp_path), tmp_path)


def test_what_is_named_is_not_called_skipped(tmp_path, caplog):
    (tmp_path / "a_seg.nii.gz").touch()
    require_volumes([str(tmp_path / "a_seg.nii.gz")], tmp_path)
    require_volumes(["elsewhere/a.nii.gz"], tmp_path / "none")
    assert caplog.messages == []


def test_what_may_hold_images_and_is_not_read_is_named(tmp_path, caplog):
    folder = tmp_path / "in"
    for name in ("in/a.nii.gz", "in/b.hdr", "in/b.img", "in/c/d.MGZ", "in/e.zip", "elsewhere/f.nii.gz", "in/g.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "out").mkdir()
    (folder / "out" / "left.img").touch()
    require_volumes(input_volumes(folder), folder, output_dir=folder / "out")
    names = "b.hdr, b.img, c/d.MGZ, e.zip, linked (a link to a folder)"
    remedy = "convert files to NIfTI, and give a linked folder by its path"
    assert caplog.messages == [f"not read: {names}; {remedy}."]
    assert input_volumes(folder / "linked") == [str(folder / "linked" / "f.nii.gz")]
    (folder / "a.nii.gz").unlink()
    with pytest.raises(InputError, match=r"holds no volume \(.*\); not read: b\.hdr, .* and 1 more; give a volume"):
        require_volumes(input_volumes(folder), folder)


def test_a_link_to_itself_is_named_by_whoever_reads_it(tmp_path, caplog):
    (tmp_path / "a.nii").symlink_to("a.nii")
    assert input_volumes(tmp_path, output_dir=tmp_path / "out") == [str(tmp_path / "a.nii")]


@pytest.mark.fault(
    "Masks that are written",
    "nothing to segment",
    injected="an empty folder, a folder that is not there",
    outcome="an error",
)
def test_nothing_to_segment_is_an_error_when_the_config_is_run(tmp_path):
    assert input_volumes(tmp_path / "none") == []
    with pytest.raises(InputError, match=r"none' does not exist; give a volume or a folder with --dataset_dir"):
        require_volumes([], tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no volume \(\.nii\.gz, \.nii, .*\); give a volume"):
        require_volumes(input_volumes(tmp_path), tmp_path)
    require_volumes(["a.nii.gz"], "a.nii.gz")


@pytest.mark.parametrize("shape", [(8, 6, 1), (8, 6, 4), (1, 1, 1), (1, 6, 4)])
def test_a_mask_has_the_shape_of_its_image(tmp_path, shape):
    affine = torch.diag(torch.tensor([-0.5, -0.5, 3.0, 1.0], dtype=torch.float64))
    mask = MetaTensor(torch.ones(1, *shape), affine=affine, meta={"filename_or_obj": "case.nii.gz"})
    save = SaveImage(tmp_path, output_postfix="mask", separate_folder=False, writer=VolumeWriter, print_log=False)
    save(mask)
    written = nib.load(tmp_path / "case_mask.nii.gz")
    assert written.shape == shape
    np.testing.assert_array_equal(written.affine, affine.numpy())
    np.testing.assert_array_equal(written.get_fdata(), np.ones(shape))


def test_no_line_about_a_decoder_that_is_not_used(caplog):
    LoadImage()
    assert [record.message for record in caplog.records if "nvImageCodec" in record.message] == []
