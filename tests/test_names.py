# SPDX-License-Identifier: Apache-2.0
"""What files and cases are called, the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor, list_data_collate

from akd_monai.names import case_name, case_names, is_mask_name, is_nifti, is_volume, stem_of, suggests_mask, visible


@pytest.mark.parametrize(
    ("name", "stem", "nifti", "volume", "mask"),
    [
        ("RUNMC/Case00.nii.gz", "Case00", True, True, False),
        ("Case00.NII.GZ", "Case00", True, True, False),
        ("Case00.nii", "Case00", True, True, False),
        ("t2.axial.mha", "t2.axial", False, True, False),
        ("a.nrrd", "a", False, True, False),
        ("a.nhdr", "a", False, True, False),
        ("a.mhd", "a", False, True, False),
        ("BMC/Case01_Segmentation.nii.gz", "Case01_Segmentation", True, True, True),
        ("x_segmentation.nrrd", "x_segmentation", False, True, True),
        ("_segmentation_old.nii.gz", "_segmentation_old", True, True, False),
        ("results.tar.gz", "results.tar", False, False, False),
        ("notes", "notes", False, False, False),
        ("nii.gz", "nii", False, False, False),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_suffixes_and_stems(name, stem, nifti, volume, mask, kind):
    path = kind(name)
    assert (stem_of(path), is_nifti(path), is_volume(path), is_mask_name(path)) == (stem, nifti, volume, mask)


@pytest.mark.parametrize(
    "name",
    [
        "a_segmentation.nii.gz",
        "a_Seg.nii",
        "a-label.nrrd",
        "a_labels.mha",
        "a.mask.nii.gz",
        "a_ROI.nii.gz",
        "a_pred.nii.gz",
        "a_prediction.nii.gz",
        "a_mask2.nii.gz",
        "a_seg_1.nii.gz",
        "a_WG.nii.gz",
        "a_gt.nii.gz",
        "ProstateMask.nii.gz",
        "sub-01_dseg.nii.gz",
        "t2_seg_reader1.nii.gz",
        "t2_anatomy_reader1.nii.gz",
        "label.nii.gz",
        "_seg.nii.gz",
        "labelsTr/hippocampus_001.nii.gz",
        "Masks/deep/a.nii.gz",
        "segmentations/a.nii.gz",
    ],
)
def test_names_of_masks_and_predictions(name):
    assert suggests_mask(name)
    assert suggests_mask(Path(name))


@pytest.mark.parametrize(
    "name",
    [
        "Case00.nii.gz",
        "t2.nii.gz",
        "t2_tse_tra.nii.gz",
        "imagesTr/hippocampus_001_0000.nii.gz",
        "segovia.nii.gz",
        "unmasked.nii.gz",
        "labelled/a.nii.gz",
        "masked_study/a.nii.gz",
        "a_seg_t2.nii.gz",
        "prostate.nii.gz",
        "predator_01.nii.gz",
    ],
)
def test_names_of_images(name):
    assert not suggests_mask(name)


def test_visible_is_sorted_and_leaves_out_what_is_hidden(tmp_path):
    for name in ("b.txt", "a.txt", "._a.txt", ".hidden/c.txt", "sub/d.txt", "sub/._d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in visible(tmp_path)] == ["a.txt", "b.txt", "sub"]
    assert [path.name for path in visible(tmp_path, "**/*.txt")] == ["a.txt", "b.txt", "d.txt"]


def test_hidden_folders_above_do_not_matter(tmp_path):
    folder = tmp_path / ".cache" / "set"
    folder.mkdir(parents=True)
    (folder / "a.txt").touch()
    assert list(visible(folder)) == [folder / "a.txt"]


def loaded(file: str) -> MetaTensor:
    return MetaTensor(torch.zeros(1, 2, 2, 2), meta={"filename_or_obj": file})


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ({"case_id": "HK/Case13", "image": "/data/UCL/Case25.nii.gz"}, "HK/Case13"),
        ({"case_id": 7}, "7"),
        ({"case_id": torch.tensor(7)}, "7"),
        ({"image": "/data/HK/Case13.nii.gz"}, "HK/Case13"),
        ({"image": Path("/data/HK/Case13.nii")}, "HK/Case13"),
        ({"image": "Case13.nii.gz"}, "Case13"),
        ({"image": loaded("/data/HK/Case13.nii.gz")}, "HK/Case13"),
        ({"image": torch.zeros(1), "label": "/data/HK/Case13_segmentation.nii.gz"}, "HK/Case13_segmentation"),
        ({"image": MetaTensor(torch.zeros(1)), "label": loaded("a/b.nii")}, "a/b"),
        ({"image": torch.zeros(1)}, "without a name"),
        ({}, "without a name"),
    ],
)
def test_the_name_of_a_case(case, name):
    assert case_name(case) == name


def test_the_fallback_is_for_cases_that_name_no_file():
    assert case_name({"image": torch.zeros(1)}, "3") == "3"
    assert case_name({"image": "a/b.nii"}, "3") == "a/b"


@pytest.mark.parametrize(
    ("batch", "names"),
    [
        ({"case_id": ["BMC/Case00", "BMC/Case01"]}, ["BMC/Case00", "BMC/Case01"]),
        ({"case_id": torch.tensor([4, 5])}, ["4", "5"]),
        ({"case_id": "BMC/Case00"}, ["BMC/Case00"]),
        ({"image": torch.zeros(2, 1)}, []),
        ({}, []),
        ([1], []),
        (torch.zeros(1), []),
        (None, []),
    ],
)
def test_the_names_of_a_batch(batch, names):
    assert case_names(batch) == names


def test_a_batch_of_loaded_files_names_them():
    batch = list_data_collate([{"image": loaded(f"/data/HK/Case{number}.nii.gz")} for number in (13, 14)])
    assert case_names(batch) == ["HK/Case13", "HK/Case14"]
