# SPDX-License-Identifier: Apache-2.0
"""Faults that show only between cases: scans twice, patients in two places, masks of a site upside down; synthetic data."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from akd_monai.data.manifest import Manifest
from akd_monai.data.nifti import nifti_bytes
from akd_monai.errors import InputError
from akd_monai.prostate import make_phantom, verify_dataset
from akd_monai.prostate.verify._across_cases import known_overlaps, sites_upside_down
from akd_monai.prostate.verify._check import CaseCheck
from akd_monai.prostate.verify._splits import read_splits
from akd_monai.prostate.verify._thumbnails import THUMBNAIL_SHAPE, alike, thumbnail, voxel_hash

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
FINER = np.array([[-1.0, 0, 0, 0.5], [0, -1, 0, 0.5], [0, 0, 3, 0], [0, 0, 0, 1]])
SHAPE = (40, 40, 12)


def grey(seed):
    """A smooth synthetic body with structure of its own."""
    rng = np.random.default_rng(seed)
    return (1000 + 4000 * ndimage.gaussian_filter(rng.normal(size=SHAPE), (4, 4, 1.5))).astype(np.float32)


def gland():
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[14:26, 15:25, 3:9] = 1
    return mask


def save(path, array, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def write(folder, **cases):
    """Write cases given as ``SITE_CaseNN=image`` with a mask each."""
    for name, image in cases.items():
        site, case = name.split("_")
        save(folder / site / f"{case}.nii.gz", image)
        save(folder / site / f"{case}_segmentation.nii.gz", gland())


def check(folder, **options):
    return verify_dataset(folder, workers=1, progress=False, **options)


COPIES = {
    "same voxels": lambda a: (a, LPS),
    "other grey values": lambda a: (a * 0.2 + 17, LPS),
    "mirrored": lambda a: (a[::-1].copy(), LPS),
    "upside down": lambda a: (a[:, :, ::-1].copy(), LPS),
    "stored otherwise": lambda a: (a[::-1, ::-1].copy(), np.diag([2.0, 2.0, 3.0, 1.0])),
    "more pixels": lambda a: (ndimage.zoom(a, (2, 2, 1), order=1, grid_mode=True, mode="nearest"), FINER),
    "noisy": lambda a: (a + np.random.default_rng(5).normal(0, 20, a.shape).astype(np.float32), LPS),
}


@pytest.mark.fault(
    "Preparing and verifying data",
    "one scan in two sites",
    injected="a copy under another name",
    outcome="found",
)
@pytest.mark.parametrize("copy", COPIES)
def test_one_scan_in_two_sites_is_found(tmp_path, copy):
    write(tmp_path, HK_Case13=grey(1), HK_Case14=grey(2), UCL_Case25=grey(3))
    image, affine = COPIES[copy](grey(2))
    save(tmp_path / "UCL/Case26.nii.gz", image, affine)
    mask, affine = COPIES["stored otherwise" if copy == "stored otherwise" else "same voxels"](gland())
    if copy == "more pixels":
        mask, affine = gland().repeat(2, axis=0).repeat(2, axis=1), FINER
    save(tmp_path / "UCL/Case26_segmentation.nii.gz", mask, affine)
    (finding,) = check(tmp_path).findings
    assert (finding.case, finding.code, finding.severity) == ("UCL/Case26", "duplicate", "error")
    assert finding.message.startswith("HK/Case14 and UCL/Case26 of different sites")
    words = "hold the same voxels" if copy in ("same voxels", "stored otherwise") else "look the same (correlation "
    assert words in finding.message


def test_different_scans_are_far_below_the_threshold(tmp_path):
    pictures = [thumbnail(grey(seed), LPS) for seed in range(12)]
    assert alike(pictures, threshold=0.8) == []
    assert [picture.shape for picture in pictures[:1]] == [THUMBNAIL_SHAPE]
    assert np.linalg.norm(pictures[0]) == pytest.approx(1)
    assert pictures[0].mean() == pytest.approx(0, abs=1e-12)


def test_voxel_hash_sees_values_and_shape_only():
    values = grey(1).astype(np.int16)
    assert voxel_hash(values) == voxel_hash(np.asfortranarray(values.astype(np.float32)))
    assert voxel_hash(values) != voxel_hash(values.reshape(20, 80, 12))
    changed = values.copy()
    changed[0, 0, 0] += 1
    assert voxel_hash(values) != voxel_hash(changed)


def manifest(folder, patients, source="six-site"):
    """Write a manifest that gives each case a patient."""
    result = Manifest(folder)
    for case, patient in patients.items():
        record = {"case_id": case, "key": case, "patient_id": patient, "source": source, "sha256": {}}
        names = {"image": f"{case}.nii.gz", "label": f"{case}_segmentation.nii.gz"}
        result.records[case] = record | names | {"sha256": {"image": None, "label": None}}
    result.write()


def splits(path, **parts):
    """Write splits as a case-to-part table."""
    cases = {name.replace("_", "/"): part for name, part in parts.items()}
    path.write_text(json.dumps({"splits": [{"cases": {}}, {"cases": cases}]}))
    return path


def test_two_scans_of_one_patient_are_fine_until_a_split_puts_them_apart(tmp_path):
    data = tmp_path / "set"
    write(data, HK_Case13=grey(1), HK_Case14=grey(1) + 40 * (grey(4) > 1000), HK_Case15=grey(3))
    assert [f.code for f in check(data).findings] == ["duplicate"]
    manifest(data, {"HK/Case13": "p1", "HK/Case14": "p1", "HK/Case15": "p2"})
    assert check(data).findings == []
    together = splits(tmp_path / "a.json", HK_Case13="training", HK_Case14="training", HK_Case15="test")
    assert check(data, splits=together).findings == []
    apart = splits(tmp_path / "b.json", HK_Case13="training", HK_Case14="test", HK_Case15="test")
    found = {f.code: f.message for f in check(data, splits=apart).findings}
    assert set(found) == {"duplicate", "patient-in-parts"}
    assert "in different parts of a split" in found["duplicate"]
    assert found["patient-in-parts"] == "one patient in several parts of a split: HK/Case13, HK/Case14"


@pytest.mark.fault(
    "Preparing and verifying data",
    "one patient in two sites",
    injected="the same patient in two records",
    outcome="found",
)
def test_one_patient_in_two_sites_is_found_by_the_manifest(tmp_path):
    write(tmp_path, HK_Case13=grey(1), UCL_Case25=grey(2))
    manifest(tmp_path, {"HK/Case13": "p1", "UCL/Case25": "p1"})
    (finding,) = check(tmp_path).findings
    assert (finding.code, finding.message) == (
        "patient-in-sites",
        "one patient in several sites: HK/Case13, UCL/Case25",
    )


def test_known_overlaps_are_named(tmp_path):
    (finding,) = known_overlaps(["HK", "MSD", "RUNMC"], [])
    assert finding.message == "Prostate-3T (RUNMC), MSD Task05 share patients of one hospital"
    (finding,) = known_overlaps(["RUNMC", "ProstateX", "PI-CAI"], ["promise12"])
    assert finding.message.startswith("Prostate-3T (RUNMC), PROSTATEx, PI-CAI share")
    assert known_overlaps(["RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK", "PROSTATE158"], ["prostate158"]) == []
    write(tmp_path, RUNMC_Case00=grey(1), OWN_Case00=grey(2))
    manifest(tmp_path, {"OWN/Case00": "p1"}, source="decathlon")
    assert [f.code for f in check(tmp_path).findings] == ["known-overlap"]


def checks_with(*evidence):
    return [CaseCheck(f"HK/Case{i}", "HK", flips={"P": 3.0, "S": value}) for i, value in enumerate(evidence)]


@pytest.mark.parametrize(
    ("evidence", "count"),
    [
        ((-2, -3, -2), 1),
        ((-2, -3), 0),
        ((-2, -3, 2), 0),
        ((2, 3, 3, 1), 0),
        ((0, 0, -3, -3), 0),
        ((0, -2, -2, -3), 1),
        ((-8, 1, 1), 0),
    ],
)
def test_weak_signs_of_several_cases_add_up(evidence, count):
    assert len(sites_upside_down(checks_with(*evidence))) == count


@pytest.mark.parametrize(("turn", "words"), [(np.s_[:, ::-1], "front to back"), (np.s_[:, :, ::-1], "upside down")])
def test_a_site_of_thin_glands_turned_over_is_noticed(tmp_path, turn, words):
    make_phantom(tmp_path, cases_per_site={"RUNMC": 4, "UCL": 3}, progress=False)
    for path in (tmp_path / "RUNMC").glob("*_segmentation*"):
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)[turn]
        path.write_bytes(nifti_bytes(array, image.affine))
    found = [f for f in check(tmp_path).findings if f.code == "site-upside-down"]
    assert [f.case for f in found] == ["RUNMC"]
    assert words in found[0].message


def test_splits_are_read_in_both_forms(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(
        json.dumps({"numTest": 1, "training": [{"image": "/a/HK/Case13.nii.gz"}], "test": ["HK/Case14.nii.gz"]})
    )
    assert read_splits(path) == [{"HK/Case13": "training", "HK/Case14": "test"}]
    path.write_text(json.dumps({"training": [{"case_id": "UCL/Case25", "image": "x"}]}))
    assert read_splits(path) == [{"UCL/Case25": "training"}]
    path.write_text("[1, 2]")
    with pytest.raises(
        InputError,
        match=r"list\.json: must hold an object at its top level, got list; give the",
    ):
        read_splits(path)
    with pytest.raises(InputError, match=r"none\.json: cannot be opened \(No such file or directory\)"):
        read_splits(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"name": "no lists"},
        {"splits": []},
        {"splits": [{"cases": {}}]},
        {"splits": {"cases": {}}},
        {"splits": 3},
        {"training": [3]},
        {"training": [{"label": 5}]},
        {"training": [["HK/Case13.nii.gz"]]},
    ],
)
def test_a_file_without_splits_is_refused(tmp_path, content):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"list\.json: holds no splits, expected .*; give the JSON file of the splits"):
        read_splits(path)


def test_a_case_in_two_parts_of_a_datalist_is_refused(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": ["a/HK/Case13.nii.gz"], "test": [{"image": "b/HK/Case13.nii"}]}))
    with pytest.raises(InputError, match=r"HK/Case13 is in the parts 'training' and 'test' of a split"):
        read_splits(path)


def test_splits_of_this_package_are_understood(tmp_path):
    from akd_monai.data import read_cases, write_splits

    write(tmp_path / "set", HK_Case13=grey(1), HK_Case14=grey(2), HK_Case15=grey(3), HK_Case16=grey(4))
    path = write_splits(tmp_path / "splits.json", read_cases(tmp_path / "set"))
    found = read_splits(path)
    assert len(found) == 4
    assert all(set(split) == {f"HK/Case{n}" for n in range(13, 17)} for split in found)
    assert check(tmp_path / "set", splits=path).findings == []
