# SPDX-License-Identifier: Apache-2.0
"""Tests of the readers of MetaImage and NIfTI sources on tiny synthetic volumes."""

from __future__ import annotations

import json
import typing

import nibabel as nib
import numpy as np
import pytest
from source_tools import RAS, SHAPE, grey, label, records, run, save, voxels

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.prostate import verify_dataset
from akd_monai.prostate.prepare._sources import SOURCES, SourceName, get_source
from akd_monai.prostate.prepare._sources.promise12 import promise12_site


def write_mhd(path, array, kind="MET_SHORT", origin=(-10, -20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".raw").write_bytes(array.tobytes(order="F"))
    path.write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = {' '.join(map(str, origin))}\nElementSpacing = 0.5 0.5 3\n"
        f"DimSize = {' '.join(map(str, array.shape))}\nElementType = {kind}\nElementDataFile = {path.stem}.raw\n"
    )


def write_promise12(folder, number, *, labelled=True):
    write_mhd(folder / f"Case{number:02d}.mhd", grey(number))
    if labelled:
        write_mhd(folder / f"Case{number:02d}_segmentation.mhd", (label() > 0).astype(np.int8), "MET_CHAR")


def test_promise12_sites_numbers_and_values(tmp_path):
    for number in (0, 1, 13, 25, 37, 38):
        write_promise12(tmp_path / "raw/TrainingData", number)
    write_promise12(tmp_path / "raw/TrainingData", 14, labelled=False)
    write_promise12(tmp_path / "raw/TestData", 0, labelled=False)
    result = run("promise12", tmp_path / "raw", tmp_path / "out")
    names = ["BIDMC/Case00", "HK/Case13", "HK/Case14", "PROMISE12_other/Case01", "PROMISE12_other/Case38"]
    assert sorted(result.done) == [*names, "PROMISE12_test/Case00", "UCL/Case25", "UCL/Case37"]
    image = nib.load(tmp_path / "out/UCL/Case25.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), grey(25))
    np.testing.assert_array_equal(voxels(tmp_path / "out/UCL/Case25_segmentation.nii.gz"), label() > 0)
    # MetaImage is LPS: x and y change their sign.
    np.testing.assert_allclose(image.affine, [[-0.5, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert "the label is missing" in result.warnings["HK/Case14"][0]
    patients = {name: record["patient_id"] for name, record in records(tmp_path / "out").items()}
    assert patients["BIDMC/Case00"] != patients["PROMISE12_test/Case00"]


def test_promise12_site_table():
    sites = [promise12_site(n) for n in range(50)]
    assert {name: sites.count(name) for name in set(sites)} == {"BIDMC": 12, "HK": 12, "UCL": 13, "PROMISE12_other": 13}


def test_promise12_faults_are_named(tmp_path):
    for number in (13, 14, 15, 16):
        write_promise12(tmp_path / "raw", number)
    (tmp_path / "raw/Case13.raw").unlink()
    raw = tmp_path / "raw/Case14.raw"
    raw.write_bytes(raw.read_bytes()[:100])
    write_mhd(tmp_path / "raw/Case15_segmentation.mhd", label()[:, :, :5].astype(np.int8), "MET_CHAR")
    write_mhd(tmp_path / "raw/Case16_segmentation.mhd", label().astype(np.int8), "MET_CHAR", origin=(-10, -20, 31))
    result = run("promise12", tmp_path / "raw", tmp_path / "out")
    failed = {f.case: f for f in result.failed}
    assert {name: f.code for name, f in failed.items()} == {
        "HK/Case13": "missing-file",
        "HK/Case14": "truncated",
        "HK/Case15": "shape-mismatch",
        "HK/Case16": "affine-mismatch",
    }
    assert "its data file Case13.raw is missing" in str(failed["HK/Case13"])
    assert "image 9x8x7, label 9x8x5" in str(failed["HK/Case15"])
    assert "1.0 mm beside" in str(failed["HK/Case16"])
    assert str(tmp_path) not in str(failed["HK/Case14"])


def test_six_site_keeps_arrays_and_matches_the_mixed_case_suffix(tmp_path):
    save(tmp_path / "raw/BMC/Case07.nii.gz", grey(7))
    # Another header must not turn or move anything: these headers are not trusted.
    save(tmp_path / "raw/BMC/Case07_Segmentation.nii.gz", label(), np.diag([-1.0, -1, 1, 1]))
    save(tmp_path / "raw/RUNMC/Case00.nii.gz", grey(1))
    save(tmp_path / "raw/RUNMC/Case00_segmentation.nii.gz", label((255, 255)))
    save(tmp_path / "raw/RUNMC/Case01_segmentation.nii.gz", label())
    (tmp_path / "raw/RUNMC/._Case00.nii.gz").write_bytes(b"macOS")
    save(tmp_path / "raw/RUNMC/mean.nii.gz", grey())
    result = run("six-site", tmp_path / "raw", tmp_path / "out")
    assert sorted(result.done) == ["BMC/Case07", "RUNMC/Case00"]
    assert not result.failed
    np.testing.assert_array_equal(voxels(tmp_path / "out/BMC/Case07.nii.gz"), grey(7))
    np.testing.assert_array_equal(voxels(tmp_path / "out/BMC/Case07_segmentation.nii.gz"), label() > 0)
    np.testing.assert_array_equal(voxels(tmp_path / "out/RUNMC/Case00_segmentation.nii.gz"), label() > 0)
    assert "paired by index" in " ".join(result.warnings["BMC/Case07"])
    assert sorted(result.skipped) == [
        "RUNMC/Case01_segmentation.nii.gz: a label without image",
        "RUNMC/mean.nii.gz: neither CaseNN nor CaseNN_segmentation",
    ]
    np.testing.assert_array_equal(
        nib.load(tmp_path / "out/BMC/Case07.nii.gz").affine,
        nib.load(tmp_path / "out/BMC/Case07_segmentation.nii.gz").affine,
    )


def test_six_site_doubts_an_impossible_spacing(tmp_path):
    save(tmp_path / "raw/HK/Case13.nii.gz", grey(), np.diag([0.5, 0.5, 20, 1]))
    result = run("six-site", tmp_path / "raw", tmp_path / "out")
    assert "field of view of 4 x 4 mm" in " ".join(result.warnings["HK/Case13"])
    assert "slice distance of 20.00 mm" in " ".join(result.warnings["HK/Case13"])


@pytest.mark.parametrize(
    ("width", "distance", "kinds"),
    [
        # 60 to 500 mm and 0.5 to 10 mm are plausible.
        (61, 0.5, set()),
        (500, 10, set()),
        (59, 3, {"field of view"}),
        (501, 3, {"field of view"}),
        (200, 0.4, {"slice distance"}),
        (200, 10.5, {"slice distance"}),
    ],
)
def test_prepare_and_verify_doubt_the_same_spacings(tmp_path, width, distance, kinds):
    shape = (400, 400, 3)
    image = np.random.default_rng(0).integers(1, 2000, shape).astype(np.int16)
    gland = np.zeros(shape, dtype=np.uint8)
    gland[160:240, 160:240] = 1
    affine = np.diag([-width / 400, -width / 400, distance, 1.0])
    save(tmp_path / "raw/HK/Case13.nii.gz", image, affine)
    save(tmp_path / "raw/HK/Case13_segmentation.nii.gz", gland, affine)
    result = run("six-site", tmp_path / "raw", tmp_path / "out")
    warnings = result.warnings.get("HK/Case13", [])
    assert {" ".join(warning.split()[:3]).removesuffix(" of") for warning in warnings} == kinds
    codes = {finding.code for finding in verify_dataset(tmp_path / "out", workers=1, progress=False).findings}
    assert ("spacing" in codes) == bool(kinds)


def write_decathlon(root, numbers=("00", "47"), modality=("T2", "ADC")):
    for number in numbers:
        both = np.stack([grey(1 if m == "T2" else 2) for m in modality], axis=-1)
        save(root / f"imagesTr/prostate_{number}.nii.gz", both)
        save(root / f"labelsTr/prostate_{number}.nii.gz", label())
        (root / f"imagesTr/._prostate_{number}.nii.gz").write_bytes(b"macOS")
    names = {str(i): name for i, name in enumerate(modality)}
    (root / "dataset.json").write_text(json.dumps({"modality": names}))


@pytest.mark.parametrize("modality", [("T2", "ADC"), ("ADC", "T2")])
def test_decathlon_takes_t2_and_turns_to_lps(tmp_path, modality):
    root = tmp_path / "raw/Task05_Prostate"
    write_decathlon(root, modality=modality)
    save(root / "imagesTs/prostate_03.nii.gz", np.stack([grey(1), grey(2)], axis=-1))
    result = run("decathlon", tmp_path / "raw", tmp_path / "out")
    assert sorted(result.done) == ["MSD/Case00", "MSD/Case03", "MSD/Case47"]
    image = nib.load(tmp_path / "out/MSD/Case47.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), grey(1)[::-1, ::-1])
    np.testing.assert_array_equal(voxels(tmp_path / "out/MSD/Case47_segmentation.nii.gz"), label()[::-1, ::-1] > 0)
    # The voxel that was at (8, 7, 0) is now at (0, 0, 0), in the same place.
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], RAS @ [8, 7, 0, 1])
    record = records(tmp_path / "out")["MSD/Case47"]
    assert record["flips"] == ["both: flipped axis 0 (R to L)", "both: flipped axis 1 (A to P)"]
    assert (record["original"]["orientation"], record["prepared"]["orientation"]) == ("RAS", "LPS")
    assert record["image"] == "MSD/Case47.nii.gz"
    assert records(tmp_path / "out")["MSD/Case03"]["label"] is None


def test_decathlon_without_a_t2_channel_is_refused(tmp_path):
    write_decathlon(tmp_path / "raw", numbers=("00",), modality=("FLAIR", "ADC"))
    result = run("decathlon", tmp_path / "raw", tmp_path / "out")
    assert [f.code for f in result.failed] == ["channel"]


def test_decathlon_with_broken_json_says_where_it_breaks(tmp_path):
    write_decathlon(tmp_path / "raw", numbers=("00",))
    (tmp_path / "raw/dataset.json").write_text('{"modality": }')
    result = run("decathlon", tmp_path / "raw", tmp_path / "out")
    (failure,) = result.failed
    assert (failure.code, failure.where) == ("channel", "dataset.json")
    assert "is no valid JSON" in str(failure)
    assert "line 1 column 14" in str(failure)


def test_prostate158_merges_zones_and_keeps_test_patients_apart(tmp_path):
    for part, number in (("train", "020"), ("valid", "021"), ("test", "020")):
        save(tmp_path / f"raw/{part}/{number}/t2.nii.gz", grey())
        save(tmp_path / f"raw/{part}/{number}/adc.nii.gz", grey(9))
        save(tmp_path / f"raw/{part}/{number}/t2_anatomy_reader1.nii.gz", label((2, 1)))
        save(tmp_path / f"raw/{part}/{number}/t2_tumor_reader1.nii.gz", np.ones(SHAPE, dtype=np.uint8))
    result = run("prostate158", tmp_path / "raw", tmp_path / "out")
    assert sorted(result.done) == ["PROSTATE158/Case00", "PROSTATE158/Case020", "PROSTATE158/Case021"]
    found = records(tmp_path / "out")
    assert len({r["patient_id"] for r in found.values()}) == 3
    assert "1 = central gland, 2 = peripheral zone" in found["PROSTATE158/Case021"]["label_rule"]
    assert voxels(tmp_path / "out/PROSTATE158/Case021_segmentation.nii.gz").sum() == (label() > 0).sum()


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_folder_without_the_source_says_what_was_expected(tmp_path, name):
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=f"no case of source '{name}' below .*: expected .*; check the path"):
        run(name, tmp_path / "raw", tmp_path / "out")


def test_every_source_is_a_choice_of_the_signature():
    assert tuple(SOURCES) == typing.get_args(SourceName)


def test_unknown_source_hints_at_the_near_one():
    with pytest.raises(
        UnknownNameError, match=r"unknown source 'promise'\. Did you mean 'promise12', .*Known: .*folder"
    ):
        get_source("promise")
