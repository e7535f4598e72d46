# SPDX-License-Identifier: Apache-2.0
"""A hospital's own folder: images and masks told by their names, and nobody named."""

from __future__ import annotations

import numpy as np
import pytest
from source_tools import RAS, SHAPE, grey, label, records, run, save, voxels

from akd_monai.errors import InputError


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.nii.gz", "a_segmentation.nii.gz"),
        ("a.nii", "a-label.nii.gz"),
        ("images/a.nii.gz", "labels/a.nii.gz"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("a/image.nii.gz", "a/label.nii.gz"),
        ("x/a/t2.nii.gz", "x/a/mask.nii.gz"),
        ("fold0/a/a_1_t2w.nii.gz", "masks/a_1.nii.gz"),
    ],
)
def test_folder_pairs_by_name(tmp_path, image, mask):
    save(tmp_path / "raw" / image, grey())
    save(tmp_path / "raw" / mask, label())
    (tmp_path / "raw" / image).parent.joinpath("a_adc.nii.gz").write_bytes(b"never read")
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert not result.failed
    assert result.skipped == ["a_adc.nii.gz: by its name no axial T2-weighted volume"]
    np.testing.assert_array_equal(voxels(tmp_path / "out/LOCAL/Case00_segmentation.nii.gz")[::-1, ::-1], label() > 0)


def test_folder_turns_a_label_that_is_stored_otherwise(tmp_path):
    save(tmp_path / "raw/a.nii.gz", grey())
    # Stored as [k, -i, j], with the affine that says so.
    stored = label().transpose(2, 0, 1)[:, ::-1]
    affine = np.stack([RAS[:, 2], -RAS[:, 0], RAS[:, 1], RAS @ [SHAPE[0] - 1, 0, 0, 1]], axis=1)
    save(tmp_path / "raw/a_mask.nii.gz", stored, affine)
    run("folder", tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(voxels(tmp_path / "out/LOCAL/Case00_segmentation.nii.gz")[::-1, ::-1], label() > 0)


def test_folder_scans_of_one_patient_share_the_id_and_numbers_stay(tmp_path):
    for name in ("ann/scan1", "ann/scan2", "bob/scan1"):
        save(tmp_path / f"raw/{name}.nii.gz", grey())
    run("folder", tmp_path / "raw", tmp_path / "out")
    first = {r["key"]: name for name, r in records(tmp_path / "out").items()}
    patients = [r["patient_id"] for _, r in sorted(records(tmp_path / "out").items())]
    assert patients[0] == patients[1] != patients[2]
    save(tmp_path / "raw/aaa/scan1.nii.gz", grey(1))
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case03"]
    assert len(result.kept) == 3
    assert {r["key"]: name for name, r in records(tmp_path / "out").items()}.items() >= first.items()


def test_folder_with_two_images_of_one_case_is_refused(tmp_path):
    save(tmp_path / "raw/a.nii.gz", grey())
    save(tmp_path / "raw/a_t2.nii.gz", grey())
    with pytest.raises(InputError, match=r"a\.nii\.gz and a_t2\.nii\.gz both belong to one case; keep one image"):
        run("folder", tmp_path / "raw", tmp_path / "out")


@pytest.mark.parametrize(("values", "code"), [((0.5, 1), "label-fractions"), ((-1, 1), "label-values")])
def test_labels_that_are_no_classes_are_refused(tmp_path, values, code):
    save(tmp_path / "raw/a.nii.gz", grey())
    array = label().astype(np.float32)
    array[array == 1], array[array == 2] = values
    save(tmp_path / "raw/a_seg.nii.gz", array)
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert [f.code for f in result.failed] == [code]
