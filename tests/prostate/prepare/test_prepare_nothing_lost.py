# SPDX-License-Identifier: Apache-2.0
"""Every file of an input folder is prepared, the mask of a prepared case, or named; no case takes the place of another."""

from __future__ import annotations

import gzip
import random
import shutil
from pathlib import Path

import dicom_files as dcm
import numpy as np
import pytest
from source_tools import run

from akd_monai.data.manifest import Manifest
from akd_monai.data.nifti import nifti_bytes
from akd_monai.errors import InputError
from akd_monai.names import is_volume
from akd_monai.prostate.prepare._sources import SOURCES
from akd_monai.prostate.prepare._sources.files import data_files

AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])
SHAPE = (6, 5, 4)


def small(number):
    return np.random.default_rng(number).integers(1, 2000, SHAPE).astype(np.int16)


def write_volume(path, array):
    """Write a volume in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        local = name.endswith(".mha")
        raw = array.astype("<i2").tobytes(order="F")
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 0.5 0.5 3\n"
            f"DimSize = {' '.join(map(str, array.shape))}\nElementType = MET_SHORT\n"
            f"ElementDataFile = {'LOCAL' if local else path.stem + '.raw'}\n"
        )
        path.write_bytes(header.encode() + (raw if local else b""))
        if not local:
            path.with_suffix(".raw").write_bytes(raw)
    elif name.endswith(".nrrd"):
        dcm.write_nrrd(path, array)
    else:
        data = nifti_bytes(array, AFFINE)
        path.write_bytes(data if name.endswith(".gz") else gzip.decompress(data))


def write_slices(folder, number):
    volume = np.random.default_rng(number).integers(1, 2000, SHAPE).astype(np.uint16)
    words = ["t2_tse_tra", "ep2d_diff", "t2_sag", "", "T1 tra"]
    dcm.write_series(folder, volume, series=str(number), description=words[number % len(words)])


# Words that names of files and folders are made of, for each source: its own, wrong ones, and those of others.
FOLDERS = {
    "folder": ["a", "b", "images", "labels", "imagesTr", "labelsTr", "ADC", "GT", "x y", "A", "unlabelled", "DOE_JOHN"],
    "six-site": ["HK", "hk", "RUNMC", "unlabelled", "con", "New Site", "new site", "a"],
    "promise12": ["TrainingData", "TestData", "more", "UCL"],
    "decathlon": ["imagesTr", "imagesTs", "labelsTr", "Task05/imagesTr", "Task05/labelsTr", "again/imagesTr"],
    "prostate158": ["train/020", "valid/020", "test/020", "train/021", "train/DOE", "021"],
    "nci-isbi-2013": ["Training", "Prostate3T-01-0001/s", "x/Prostate3T-01-0001/t", "ProstateDx-02-0000", "Test"],
    "i2cvb": ["Siemens/Patient 1", "Patient_1", "GE/Patient 1", "Siemens/Patient 2/T2W", "Patient 3/t2w", "GE/DOE/T2W"],
}
STEMS = {
    "folder": [
        "a",
        "b",
        "t2",
        "a_seg",
        "t2_ROI",
        "mask",
        "a_adc",
        "t2_seg_reader1",
        "seg_a",
        "a_PZ",
        "b_t2",
        "a_pred",
        "",
    ],
    "six-site": [
        "Case00",
        "Case0",
        "case00_segmentation",
        "Case00_Segmentation",
        "Case01",
        "mean",
        "Case01_segmentation",
    ],
    "promise12": ["Case00", "case0", "Case00_segmentation", "Case13", "Case13_segmentation", "Case40", "readme"],
    "decathlon": ["prostate_00", "prostate_01", "Prostate_00", "prostate_0", "x"],
    "prostate158": ["t2", "T2", "t2_anatomy_reader1", "t2_anatomy_reader2", "t2_tumor_reader1", "adc", "empty"],
    "nci-isbi-2013": [
        "Prostate3T-01-0001",
        "Prostate3T-01-0001_truth",
        "ProstateDx-02-0000_correctedLabels",
        "prostate3t-01-0001",
    ],
    "i2cvb": ["a", "t2", "Patient 1"],
}
SUFFIXES = [".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".NII.GZ", ".mgz", ".zip", ""]
USUAL = {"promise12": [".mhd", ".mha"], "nci-isbi-2013": [".nrrd"], "i2cvb": [".nii.gz"]}


def random_tree(root, source, seed):
    """Write up to ten files or DICOM folders whose names are drawn; masks by name hold labels, and others grey values."""
    draw = random.Random(f"{source} {seed}")
    root.mkdir(parents=True)
    for number in range(draw.randint(1, 10)):
        place = root / draw.choice([*FOLDERS[source], "."])
        if any(folder.is_file() for folder in (place, *place.parents)):
            continue
        if source in ("folder", "nci-isbi-2013", "i2cvb") and draw.random() < 0.4:
            write_slices(place / draw.choice(["", "T2W", "GT/prostate", "GT/pz", "s1", "ADC", "t2_tra"]), number)
            continue
        suffix = draw.choice([*SUFFIXES, *USUAL.get(source, [".nii.gz"]) * 8])
        path = place / f"{draw.choice(STEMS[source])}{suffix}"
        drawn = any(word in path.name.lower() for word in ("seg", "roi", "mask", "reader", "nrrd")) or "labels" in str(
            place
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name and path.name not in (".", "..") and not path.name.startswith(".") and not path.is_dir():
            if is_volume(path) and draw.random() < 0.95:
                write_volume(path, (small(number) > 1000).astype(np.int16) if drawn else small(number))
            else:
                path.write_bytes(b"no volume")


def mentioned(path, root, words):
    """Return whether a file is named: by its path, by that of a folder of slices it lies in, or by its name in a failure."""
    relative = path.relative_to(root)
    places = [relative, *relative.parents]
    names = {place.as_posix() for place in places} - ({"."} if path.parent != root else set())
    return any(entry.split(": ")[0] in names for entry in words)


def result_or_refusal(source, root, out):
    try:
        return run(source, root, out)
    except InputError as error:
        return str(error)


@pytest.mark.fault(
    "Preparing and verifying data",
    "files of any kind in the input",
    injected="trees of every source with extra files",
    outcome="every file is prepared or named",
)
@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_file_is_prepared_or_named_and_no_output_is_shared(tmp_path, source, seed):
    root = tmp_path / "raw"
    random_tree(root, source, seed)
    out = tmp_path / "out"
    result = result_or_refusal(source, root, out)
    if isinstance(result, str):
        # Nothing of the source is there, or two cases claim one name: said in one line, before anything is written.
        assert "\n" not in result
        assert "no case of source" in result or "are one case of" in result or "upper and lower" in result
        assert not list(out.glob("**/*.nii.gz"))
        return
    secret = (out / ".prepare-key").read_bytes() if source == "folder" else b""
    found = SOURCES[source].find_cases(root, secret=secret)
    used = {path for case in found.cases for path in (*case.images, *case.labels)}
    files = [path for path in root.rglob("*") if path.is_file()]
    header_of = {data: path for path in files for data in data_files(path)}
    for path in (path for path in files if path.name != "readme"):
        parts = {path, header_of.get(path, path)}
        is_used = bool(parts & used) or any(parent in used for parent in path.parents)
        is_named = any(mentioned(part, root, result.skipped) for part in parts)
        assert is_used or is_named, f"{path.relative_to(root)} is lost"
    cases = Manifest(out).records
    files = [name for record in cases.values() for name in (record["image"], record["label"]) if name]
    assert len({name.lower() for name in files}) == len(files)
    assert all((out / name).is_file() for name in files)
    assert sorted([*result.done, *(failure.case for failure in result.failed)]) == sorted(
        {*result.done, *(failure.case for failure in result.failed)}
    )
    assert len(result.done) + len(result.failed) == len(found.cases)
    assert len(result.done) == len(cases)
    # What is written is what was read: no two images of this tree have the same voxels.
    inputs = [record["sha256"]["image_inputs"] for record in cases.values()]
    assert len(set(inputs)) == len(inputs)
    again = run(source, root, out)
    assert (again.done, sorted(again.kept)) == ([], sorted(result.done))
    assert again.skipped == result.skipped


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_set_that_lies_twice_in_the_input_is_refused_or_both_are_prepared(tmp_path, source):
    """The same tree in two folders: nothing of the first may be replaced by the second."""
    one = tmp_path / "raw/one"
    write_one(source, one)
    shutil.copytree(one, tmp_path / "raw/two")
    if source in ("folder", "nci-isbi-2013", "decathlon"):
        result = run(source, tmp_path / "raw", tmp_path / "out")
        # Own data has two cases; a patient of NCI-ISBI has two copies of one series; a number of Decathlon is ambiguous.
        expected = {"folder": (2, 0), "nci-isbi-2013": (1, 0), "decathlon": (0, 1)}[source]
        assert (len(result.done), len(result.failed)) == expected
        return
    if source == "six-site":
        # Sites are the folders right below, so the set in two folders is none of the layout: nothing is found.
        with pytest.raises(InputError, match="no case of source"):
            run(source, tmp_path / "raw", tmp_path / "out")
        return
    with pytest.raises(
        InputError, match=rf"one.* and .*two.* are one case of source '{source}' by their names; prepare"
    ):
        run(source, tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_one(source, root):
    """Write one case of a source."""
    if source in ("nci-isbi-2013", "i2cvb"):
        folder = {"nci-isbi-2013": "Prostate3T-01-0001/s", "i2cvb": "Siemens/Patient 1/T2W"}[source]
        dcm.write_series(root / folder, dcm.grey())
        return
    image = {
        "folder": "a.nii.gz",
        "six-site": "HK/Case13.nii.gz",
        "promise12": "Case13.mhd",
        "decathlon": "imagesTr/prostate_00.nii.gz",
        "prostate158": "train/020/t2.nii.gz",
    }[source]
    write_volume(root / image, small(1))


@pytest.mark.fault(
    "Preparing and verifying data",
    "two folders with cases of the same numbers",
    injected="PROMISE12's test folders",
    outcome="refused, nothing is overwritten",
)
def test_promise12_test_folders_with_the_same_numbers_are_refused(tmp_path):
    for number, folder in enumerate(("test1", "test2")):
        write_volume(tmp_path / f"raw/{folder}/Case00.mhd", small(number))
    with pytest.raises(
        InputError, match=r"test1/Case00\.mhd and .*test2/Case00\.mhd are one case of source 'promise12'"
    ):
        run("promise12", tmp_path / "raw", tmp_path / "out")


@pytest.mark.fault(
    "Preparing and verifying data",
    "two files of one case",
    injected="both formats of a name",
    outcome="both named, neither taken",
)
@pytest.mark.parametrize(
    ("source", "first", "second"),
    [
        ("promise12", "Case13.mhd", "Case13.mha"),
        ("promise12", "Case13.mhd", "case013.mhd"),
        ("promise12", "Case13_segmentation.mha", "Case13_Segmentation.mha"),
        ("six-site", "HK/Case13.nii.gz", "HK/Case13.nii"),
        ("six-site", "HK/Case13.nii.gz", "HK/case013.nii.gz"),
        ("six-site", "HK/Case13_segmentation.nii.gz", "HK/Case13_Segmentation.nii.gz"),
        ("decathlon", "imagesTr/prostate_00.nii.gz", "imagesTr/prostate_00.nii"),
        ("decathlon", "imagesTr/prostate_00.nii.gz", "imagesTs/prostate_00.nii.gz"),
        ("nci-isbi-2013", "a/Prostate3T-01-0001.nrrd", "b/Prostate3T-01-0001.nrrd"),
        ("nci-isbi-2013", "a/Prostate3T-01-0001.nrrd", "a/Prostate3T-01-0001_truth.nrrd"),
        ("folder", "a.nii.gz", "a.mha"),
    ],
)
def test_two_files_of_one_case_are_both_named_and_neither_is_taken(tmp_path, source, first, second):
    raw = tmp_path / "raw"
    is_mask = "egmentation" in first or source == "nci-isbi-2013"
    for number, name in enumerate((first, second)):
        write_volume(raw / name, (small(number) > 1000).astype(np.int16) if is_mask else small(number))
    if source == "nci-isbi-2013":
        dcm.write_series(raw / "Prostate3T-01-0001/s", dcm.grey())
        dcm.write_series(raw / "Prostate3T-01-0002/s", dcm.grey(1))
    elif source == "promise12":
        write_volume(raw / "Case13.mhd", small(1))
        write_volume(raw / "Case14.mhd", small(2))
    elif source == "six-site":
        write_volume(raw / "HK/Case13.nii.gz", small(1))
        write_volume(raw / "HK/Case14.nii.gz", small(2))
    elif source == "decathlon":
        write_volume(raw / "imagesTr/prostate_01.nii.gz", small(2))
    else:
        write_volume(raw / "b.nii.gz", small(2))
    result = run(source, raw, tmp_path / "out")
    (failure,) = result.failed
    assert failure.code == "several-files"
    assert Path(first).name in str(failure)
    assert Path(second).name in str(failure)
    assert "both belong to one case; keep one" in str(failure)
    assert len(result.done) == 1
