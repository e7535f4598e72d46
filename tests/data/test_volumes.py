# SPDX-License-Identifier: Apache-2.0
"""Volumes to be segmented are found, and written with the shape of their image."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImage

from akd_monai.data import VolumeWriter, input_volumes, require_volumes
from akd_monai.errors import InputError


def test_images_of_any_folder_are_found_and_masks_are_not(tmp_path):
    names = ["b.nii.gz", "a.NII", "sub/deep/c.mha", "d.nrrd", "e.mhd"]
    others = ["a_segmentation.nii.gz", "sub/C_Segmentation.mha", "._b.nii.gz", "notes.txt", "f.nii.gz.part"]
    for name in (*names, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert input_volumes(tmp_path) == [str(tmp_path / name) for name in sorted(names)]
    assert input_volumes(str(tmp_path / "notes.txt")) == [str(tmp_path / "notes.txt")]


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
