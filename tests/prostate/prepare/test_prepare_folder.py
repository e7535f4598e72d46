# SPDX-License-Identifier: Apache-2.0
"""A hospital's own folder: images and masks told by their names, and nobody named."""

from __future__ import annotations

import numpy as np
import pytest
from source_tools import RAS, SHAPE, grey, label, records, run, save, voxels


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
    other = (tmp_path / "raw" / image).with_name("a_adc.nii.gz")
    other.write_bytes(b"never read")
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case00"]
    assert not result.failed
    where = other.relative_to(tmp_path / "raw").as_posix()
    assert result.skipped == [f"{where}: by its name no axial T2-weighted volume (ADC)"]
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


@pytest.mark.fault(
    "Preparing and verifying data",
    "one case has two masks or images",
    injected="in a folder of several cases",
    outcome="that case fails, the others are done",
)
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.nii.gz", "a_t2.nii.gz"), "a.nii.gz and a_t2.nii.gz both belong to one case; keep one image a case"),
        (("a.nii.gz", "a.nii"), "a.nii and a.nii.gz both belong to one case; keep one image a case"),
        (
            ("a.nii.gz", "a_ROI.nii.gz", "a_seg.nii.gz"),
            "a_ROI.nii.gz and a_seg.nii.gz both belong to one case; keep one mask",
        ),
        (
            ("a/t2.nii.gz", "a/t2_anatomy_reader1.nii.gz", "a/t2_anatomy_reader2.nii.gz"),
            "t2_anatomy_reader1.nii.gz and t2_anatomy_reader2.nii.gz both belong to one case; keep one mask a case",
        ),
    ],
)
def test_one_case_with_two_images_or_masks_fails_and_the_others_are_done(tmp_path, names, words):
    for name in names:
        save(tmp_path / "raw" / name, grey() if "seg" not in name and "r1" not in name else label())
    save(tmp_path / "raw/b.nii.gz", grey(1))
    save(tmp_path / "raw/b_seg.nii.gz", label())
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert result.done == ["LOCAL/Case01"]
    assert result.exit_code == 2
    (failure,) = result.failed
    assert (failure.case, failure.code) == ("LOCAL/Case00", "several-files")
    assert words in str(failure)
    np.testing.assert_array_equal(voxels(tmp_path / "out/LOCAL/Case01.nii.gz")[::-1, ::-1], grey(1))
    # The name of a hospital's file is not stored.
    assert "reader" not in (tmp_path / "out/manifest.json").read_text()


@pytest.mark.parametrize(("values", "code"), [((0.5, 1), "label-fractions"), ((-1, 1), "label-values")])
def test_labels_that_are_no_classes_are_refused(tmp_path, values, code):
    save(tmp_path / "raw/a.nii.gz", grey())
    array = label().astype(np.float32)
    array[array == 1], array[array == 2] = values
    save(tmp_path / "raw/a_seg.nii.gz", array)
    result = run("folder", tmp_path / "raw", tmp_path / "out")
    assert [f.code for f in result.failed] == [code]
