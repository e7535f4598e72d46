# SPDX-License-Identifier: Apache-2.0
"""Name, ID, dates, institution and identifiers of a patient stay in the DICOM SEG."""

from __future__ import annotations

import gzip
import re
import warnings

import pydicom
import pytest
from deploy_tools import AS_IT_IS, write_model
from series_tools import PERSON, grey, write_series

from akd_monai.deploy import segment
from akd_monai.errors import InputError

VOLUME, _ = grey()
# values of DICOM that break the standard, of which a library would quote the value
ODD = {"PatientBirthDate": "24.12.1943 SECRETDATE", "PatientAge": "SECRETAGE of 82", "StudyTime": "SECRETTIME"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "by_hand.onnx", modality='"MR"', **AS_IT_IS)


def secrets_of(paths):
    header = pydicom.dcmread(paths[0])
    uids = [header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID]
    uids += [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    words = [part for value in PERSON.values() for part in re.split(r"[\^ ]", value) if len(part) > 3]
    # also in part, as messages may quote it
    return [*words, *(str(uid)[:-1] for uid in uids), "SECRETDATE", "SECRETAGE", "SECRETTIME"]


def written(folder):
    """Return the bytes of every file but DICOM SEG, decompressed, and its name."""
    parts = []
    for path in folder.rglob("*"):
        parts.append(path.name.encode())
        if path.is_file() and not path.name.endswith(".seg.dcm"):
            data = path.read_bytes()
            parts.append(gzip.decompress(data) if path.suffix == ".gz" else data)
            # the header of gzip may hold a name
            parts.append(data[:64])
    return b"\n".join(parts)


def found(secrets, folder, caplog, capfd):
    streams = capfd.readouterr()
    everything = written(folder) + "\n".join([caplog.text, streams.out, streams.err]).encode()
    lowered = everything.lower()
    return [word for word in secrets if word.encode().lower() in lowered]


def no_lines(folder, paths):
    """Nothing is spoilt."""


def odd_values(folder, paths):
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path)
            for name, value in ODD.items():
                setattr(data, name, value)
            data.save_as(path)


def an_odd_uid(folder, paths):
    data = paths[2].read_bytes()
    uid = str(pydicom.dcmread(paths[2]).StudyInstanceUID).encode()
    # the last byte of the study's identifier is none that an identifier may have
    paths[2].write_bytes(data.replace(uid, uid[:-1] + b"x"))


def a_localiser(folder, paths):
    header = pydicom.dcmread(paths[0])
    write_series(
        folder, VOLUME[..., :1], study=header.StudyInstanceUID, prefix="loc", ImageType=["A", "B", "LOCALIZER"]
    )


def a_gap(folder, paths):
    paths[2].unlink()


def cut_in_the_header(folder, paths):
    # after the birth date
    data = paths[2].read_bytes()
    paths[2].write_bytes(data[: data.index(b"19431224") + 8])


@pytest.mark.fault(
    "Masks that are written",
    "a DICOM series with name, ID, birth date and institution",
    injected="valid, with values that break the standard, with a gap, and cut in its header",
    outcome="none of them in NIfTI, preview, statistics, names of files and logs; the DICOM SEG alone has the patient's",
)
@pytest.mark.parametrize("spoil", [no_lines, odd_values, an_odd_uid, a_localiser, a_gap, cut_in_the_header])
def test_nothing_but_the_segmentation_knows_the_patient(model, tmp_path, caplog, capfd, spoil):
    caplog.set_level("DEBUG")
    paths = write_series(tmp_path / "in", VOLUME)
    secrets = secrets_of(paths)
    spoil(tmp_path / "in", paths)
    for path in (tmp_path / "in").glob("loc*"):
        secrets += secrets_of([path])
    # writing odd values was told as well, and an earlier test may have sent logs to stderr
    caplog.clear()
    capfd.readouterr()
    message = ""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            segment(
                tmp_path / "in", tmp_path / "out", model=model,
                output_type=["nifti", "dicom_seg"], preview=True, statistics=True,
            )  # fmt: skip
        except InputError as error:
            message = str(error)
    # what other tests have left unclosed may be collected here
    assert [str(warning.message) for warning in told if warning.category is not ResourceWarning] == []
    assert (message == "") == (spoil in (no_lines, a_localiser))
    assert [word for word in secrets if word.lower() in message.lower()] == []
    assert found(secrets, tmp_path / "out", caplog, capfd) == []
    if spoil is no_lines:
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["in_pred.nii.gz", "in_pred.seg.dcm", "in_preview.png", "statistics.json"]
        assert b"ID4711SECRET" in (tmp_path / "out" / "in_pred.seg.dcm").read_bytes()


def test_the_search_would_find_them(tmp_path, caplog, capfd):
    paths = write_series(tmp_path / "in", VOLUME)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nii.gz").write_bytes(gzip.compress(b"of secretname"))
    assert found(secrets_of(paths), tmp_path / "out", caplog, capfd) == ["Secretname"]


SHORT = {
    "PatientName": "Li^Na=山田^太郎",
    "PatientID": "P1",
    "PatientBirthDate": "19431224",
    "SpecificCharacterSet": "ISO_IR 192",
}


@pytest.mark.fault(
    "Masks that are written",
    "a DICOM series with the patient in its description",
    injected="names of two letters, in Chinese characters, and the birth date as DICOM and as people write it",
    outcome="replaced in the line that names the series; longer words that hold two such letters stay",
)
@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("Li Na t2 axial linac", "*** *** t2 axial linac"),
        ("山田太郎 t2", "****** t2"),
        ("t2 P1 19431224", "t2 *** ***"),
        ("t2 24.12.1943, 1943-12-24", "t2 ***, ***"),
    ],
)
def test_short_names_and_dates_in_a_description(model, tmp_path, description, shown):
    for number in (3, 5):
        own = {"SeriesDescription": description, "SeriesNumber": number}
        write_series(tmp_path / "in", VOLUME, prefix=f"{number}-", **SHORT, **own)
    with pytest.raises(InputError, match=re.escape(f"3 '{shown}' (MR")):
        segment(tmp_path / "in", tmp_path / "out", model=model)
