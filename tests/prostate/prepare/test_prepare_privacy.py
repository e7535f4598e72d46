# SPDX-License-Identifier: Apache-2.0
"""No free text of a header and no path of a user's folders is written by prepare or verify."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import dicom_files as dcm
import numpy as np
import pytest
from prepare_tools import gland, grey, save, six_site

from akd_monai.prostate import make_phantom, prepare_dataset, verify_dataset
from akd_monai.prostate._privacy import without_folders
from akd_monai.prostate.prepare._sources.scanner import known_coil, known_maker, known_model

TAGS = {"maker": (8, 0x70, "LO"), "model": (8, 0x1090, "LO"), "coil": (0x18, 0x1250, "SH"), "field": (0x18, 0x87, "DS")}


def write_scan(folder, **texts):
    """Write a series whose header has these texts about the scanner."""
    dcm.write_series(folder, dcm.grey())
    for path in folder.glob("*.dcm"):
        data = path.read_bytes()
        for name, old in (("maker", b"SIEMENS"), ("coil", b"Endorectal"), ("field", b"3")):
            if name in texts:
                data = data.replace(dcm.element(*TAGS[name], old), dcm.element(*TAGS[name], texts[name]), 1)
        if "model" in texts:
            # Elements stand in ascending order.
            after = dcm.element(8, 0x103E, "LO", texts.get("description", b"t2_tse_tra"))
            data = data.replace(dcm.element(8, 0x103E, "LO", b"t2_tse_tra"), after, 1)
            data = data.replace(after, after + dcm.element(*TAGS["model"], texts["model"]), 1)
        path.write_bytes(data)


def everything_written(*folders):
    """Return the bytes of all files below folders, with what is compressed in them."""
    parts = []
    for path in itertools.chain(*(folder.rglob("*") for folder in folders)):
        parts.append(path.name.encode())
        if path.is_file():
            data = path.read_bytes()
            parts += [data, gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""]
    return b"\n".join(parts)


@pytest.mark.fault(
    "Privacy",
    "names in the texts about scanner and coil",
    injected="`DOE^JOHN coil`, `Skyra MERCY HOSPITAL` and others",
    outcome="only words of an allow list are stored",
)
@pytest.mark.parametrize("source", ["folder", "i2cvb", "nci-isbi-2013"])
def test_people_and_places_in_the_scanner_texts_are_written_nowhere(tmp_path, caplog, source):
    caplog.set_level("DEBUG")
    folder = {"folder": "a/scan", "i2cvb": "Siemens/Patient 1/T2W", "nci-isbi-2013": "Prostate3T-01-0001/x"}[source]
    texts = {
        "coil": b"DOE^JOHN coil",
        "model": b"Skyra MERCY HOSPITAL",
        "maker": b"SIEMENS ROOM ROE",
        "field": b"19500201",
    }
    write_scan(tmp_path / "raw" / folder, **texts)
    result = prepare_dataset(source, tmp_path / "raw", tmp_path / "out", workers=0, progress=False)
    assert len(result.done) == 1
    verify_dataset(tmp_path / "out", output_dir=tmp_path / "report", workers=0, progress=False)
    written = everything_written(tmp_path / "out", tmp_path / "report") + caplog.text.encode() + str(result).encode()
    for secret in (b"DOE", b"JOHN", b"MERCY", b"HOSPITAL", b"Skyra", b"ROOM", b"ROE", b"1950"):
        assert secret not in written
    (record,) = json.loads((tmp_path / "out/manifest.json").read_text())["cases"]
    assert record["scanner"] == {"manufacturer": "SIEMENS", "model": "other", "receive_coil": "other"}


@pytest.mark.fault(
    "Privacy",
    "a refused series is described by a name",
    injected="series descriptions with names",
    outcome="not in the message",
)
def test_a_description_that_names_a_person_is_not_part_of_a_failure(tmp_path, caplog):
    caplog.set_level("DEBUG")
    study = tmp_path / "raw/ProstateDx-01-0001/study"
    for number, name in ((1, "a"), (2, "b")):
        dcm.write_series(study / name, dcm.grey(number), description="T2 JOHN DOE", series=str(number))
    dcm.write_series(tmp_path / "raw/Prostate3T-01-0001/x", dcm.grey(), description="johndoeadc")
    result = prepare_dataset("nci-isbi-2013", tmp_path / "raw", tmp_path / "out", workers=0, progress=False)
    assert [failure.code for failure in result.failed] == ["other-sequence", "several-series"]
    written = everything_written(tmp_path / "out") + caplog.text.encode() + str(result).encode()
    for secret in (b"JOHN", b"DOE", b"john", b"doe"):
        assert secret not in written


def test_known_scanners_are_named():
    models = [
        "TrioTim",
        "Skyra",
        "Prisma_fit",
        "Achieva",
        "Ingenia",
        "DISCOVERY MR750",
        "Discovery MR750w",
        "SIGNA HDxt",
    ]
    assert [known_model(text) for text in models] == models
    coils = [
        "Endorectal",
        "Body",
        "SENSE-Cardiac-6",
        "BO1,2;SP1-3",
        "8US TORSOPA",
        "32ch cardiac",
        "C:HEA;HEP",
    ]
    assert [known_coil(text) for text in coils] == coils
    makers = ["SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems", "Siemens Healthineers"]
    assert [known_maker(text) for text in makers] == makers
    # A maker is known by the first word, and nothing but that is kept.
    assert [known_maker(text) for text in ("GE DOE", "PHILIPS^MERCY")] == ["GE", "Philips"]


@pytest.mark.fault(
    "Privacy",
    "a name beside a known word",
    injected="10 names in 8 forms around a coil, model or maker",
    outcome="stored as `other`, or the known word alone",
)
@pytest.mark.parametrize(
    "secret", ["DOE^JOHN", "JOHN DOE", "MERCY", "1950-02-01", "19500201", "01.02.50", "4711", "Ünal", "李", "PAT"]
)
@pytest.mark.parametrize("form", ["{}", "{} {}", "{1} {0}", "{0}_{1}", "{0}{1}", "{0}\n{1}", "{0}\0{1}", "{0};{1}"])
@pytest.mark.parametrize(("known", "word"), [(known_coil, "Body"), (known_model, "Skyra"), (known_maker, "SIEMENS")])
def test_nothing_of_an_unknown_text_is_kept(secret, form, known, word):
    for text in (form.format(word, secret), form.format(secret, word)):
        kept = known(text)
        assert kept in ("other", word) or not any(part in kept for part in (secret, *secret.split()))


def failing_inputs(root: Path) -> dict[str, Path]:
    """Write folders of several sources in which cases are prepared and others fail."""
    folders = {}
    folders["six-site"] = six_site(root / "six", "HK/Case13", "HK/Case14")
    (root / "six/HK/Case14.nii.gz").write_bytes(b"<html>")
    save(root / "own/a.nii.gz", grey())
    save(root / "own/a_seg.nii.gz", gland()[..., None][..., [0, 0]])
    save(root / "own/b.nii.gz", grey(1))
    folders["folder"] = root / "own"
    (root / "promise").mkdir()
    (root / "promise/Case13.mhd").write_text("NDims = 3\nElementDataFile = gone.raw\n")
    folders["promise12"] = root / "promise"
    dcm.write_series(root / "nci/Prostate3T-01-0001/x", dcm.grey())
    (root / "nci/Prostate3T-01-0001/x/000003.dcm").write_bytes(b"no image at all" * 50)
    folders["nci-isbi-2013"] = root / "nci"
    return folders


@pytest.mark.fault(
    "Privacy",
    "a prepared set is passed on",
    injected="home and user are canary strings, some cases fail",
    outcome="neither is in manifest, report or log",
)
def test_no_path_and_no_user_is_written(tmp_path, monkeypatch, caplog):
    home = tmp_path / "home" / "j. r. doe-user"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "jrdoelogin")
    monkeypatch.setenv("LOGNAME", "jrdoelogin")
    outputs = []
    for source, folder in failing_inputs(home / "raw data").items():
        out = home / "prepared" / source
        result = prepare_dataset(source, folder, out, workers=0, progress=False)
        assert result.failed or result.done
        outputs.append(out)
        if result.done:
            report = home / "report" / source
            (out / "HK").mkdir(exist_ok=True)
            (out / "HK/Broken.nii.gz").write_bytes(b"no image")
            verify_dataset(out, output_dir=report, workers=0, progress=False)
            assert (report / "report.json").is_file()
            outputs.append(report)
    written = everything_written(*outputs) + caplog.text.encode()
    for secret in (str(home), str(tmp_path), "j. r. doe-user", "doe-user", "jrdoelogin", "raw data"):
        assert secret.encode() not in written


@pytest.mark.fault(
    "Privacy",
    "an operating system error names a path",
    injected="a reader raises PermissionError",
    outcome="paths are cut to their last part",
)
def test_what_an_unexpected_error_says_of_paths_is_not_stored(tmp_path, monkeypatch, caplog):
    home = tmp_path / "home" / "jane doe"
    monkeypatch.setenv("HOME", str(home))
    raw = six_site(home / "raw", "HK/Case13")

    def fails(*_, **__):
        raise PermissionError(13, "Permission denied", str(raw / "HK/Case13.nii.gz"))

    monkeypatch.setattr("akd_monai.prostate.prepare._sources.six_site.read_volume", fails)
    result = prepare_dataset("six-site", raw, home / "out", workers=0, progress=False)
    # The user sees where it is; the manifest and the log are passed on.
    assert "Case13.nii.gz" in str(result)
    (entry,) = json.loads((home / "out/manifest.json").read_text())["failed"]
    assert entry["reason"] == "PermissionError: [Errno 13] Permission denied: 'HK/Case13.nii.gz'"
    assert "jane doe" not in everything_written(home / "out").decode("latin-1") + caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot open /home/doe/raw/a.nii", "cannot open a.nii"),
        ("cannot open '/home/doe/a b/a.nii': gone", "cannot open 'a.nii': gone"),
        (r"C:\Users\doe\raw\a.nii is gone", "a.nii is gone"),
        ("~doe/raw/a.nii", "a.nii"),
        ("a step of 3/4 mm, 2 of 5 slices", "a step of 3/4 mm, 2 of 5 slices"),
        ("GT/prostate: x", "GT/prostate: x"),
    ],
)
def test_paths_are_cut_to_their_last_part(text, expected):
    assert without_folders(text) == expected


def test_real_cases_are_not_mixed_with_a_synthetic_set(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13")
    out = tmp_path / "out"
    make_phantom(out, cases_per_site=1, sites="HK", size=48, slices=6, progress=False)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(
        ValueError, match=r"the output folder .*out: holds a synthetic set, .*; choose another folder\."
    ):
        prepare_dataset("six-site", raw, out, workers=0, progress=False)
    with pytest.raises(ValueError, match="holds a synthetic set"):
        prepare_dataset("folder", raw, out, workers=0, progress=False)
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before
    # A manifest that lost its mark still has synthetic cases.
    content = json.loads((out / "manifest.json").read_text())
    del content["synthetic"]
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="holds a synthetic set"):
        prepare_dataset("six-site", raw, out, workers=0, progress=False)
    prepare_dataset("six-site", raw, tmp_path / "real", workers=0, progress=False)
    with pytest.raises(ValueError, match="holds a set that is not synthetic"):
        make_phantom(tmp_path / "real", cases_per_site=1, sites="HK", size=48, slices=6, progress=False)


def test_values_of_pixels_are_untouched_by_all_this(tmp_path):
    write_scan(tmp_path / "raw/a/scan", coil=b"Body", model=b"TrioTim")
    prepare_dataset("folder", tmp_path / "raw", tmp_path / "out", workers=0, progress=False)
    np.testing.assert_array_equal(dcm.voxels(tmp_path / "out/unlabelled/LOCAL/Case00.nii.gz"), dcm.grey())
    (record,) = json.loads((tmp_path / "out/manifest.json").read_text())["cases"]
    expected = {"manufacturer": "SIEMENS", "model": "TrioTim", "receive_coil": "Body", "field_strength_t": 3.0}
    assert record["scanner"] == expected
