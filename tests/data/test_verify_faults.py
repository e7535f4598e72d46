# SPDX-License-Identifier: Apache-2.0
"""Each fault is planted into a good synthetic data set, and must be found, alone, in its case and file."""

from __future__ import annotations

import gzip
import hashlib
import io
import json

import nibabel as nib
import numpy as np
import pytest

from akd_monai.data.manifest import Manifest
from akd_monai.data.phantom import make_phantom
from akd_monai.data.prepare import prepare
from akd_monai.data.verify import verify
from akd_monai.data.verify_report import ERROR, WARNING
from akd_monai.errors import InputError

LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
SHAPE = (60, 60, 14)
CASES = ("HK/Case13", "HK/Case14", "UCL/Case25")


def scan(seed):
    """A synthetic scan: a gland that is wider at the back and leans forwards on the way up, in a body of its own."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    dx, dy = rng.integers(-3, 4, 2)
    forward = y + 0.8 * (z - 7) - 30 - dy
    half_width = np.where(forward > 0, 15, 10) * np.sqrt(np.clip(1 - ((z - 7) / 6.0) ** 2, 0, 1))
    mask = (np.abs(x - 30 - dx) < half_width) & (forward > -8) & (forward < 6)
    waves = sum(60 * np.sin((x * a + y * b + z * c) / 10 + p) for a, b, c, p in rng.uniform(-2, 2, (4, 4)))
    image = 400 + waves + 150 * mask + rng.normal(0, 5, SHAPE)
    return image.astype(np.int16), mask.astype(np.uint8)


def save(path, array, affine=LPS, dtype=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine, dtype=dtype), path)


@pytest.fixture(scope="session")
def good_set(tmp_path_factory):
    """Files of three good cases, as bytes by name."""
    folder = tmp_path_factory.mktemp("good")
    for seed, case in enumerate(CASES):
        image, mask = scan(seed)
        save(folder / f"{case}.nii.gz", image)
        save(folder / f"{case}_segmentation.nii.gz", mask)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.nii.gz")}


@pytest.fixture
def folder(tmp_path, good_set):
    for name, data in good_set.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return tmp_path / "set"


def check(folder, **options):
    return verify(folder, workers=1, progress=False, **options)


def codes(report):
    return [(finding.case, finding.code, finding.severity) for finding in report.findings]


IMAGE, MASK = "HK/Case14.nii.gz", "HK/Case14_segmentation.nii.gz"


def edit(name, change, affine=None, dtype=None):
    """Return a fault that rewrites a file's voxels, its affine, or its type."""

    def spoil(folder):
        image = nib.load(folder / name)
        array = np.asanyarray(image.dataobj)
        save(folder / name, change(array), image.affine if affine is None else affine, dtype)

    return spoil


def put(name, change):
    """Return a fault that rewrites a file's bytes."""

    def spoil(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


def same(array):
    return array


def with_value(value, *, where=(0, 0, 0), dtype=np.float32):
    def change(array):
        array = array.astype(dtype)
        array[where] = value
        return array

    return change


def flipped_bit(data):
    changed = bytearray(data)
    changed[len(data) // 2] ^= 16
    return bytes(changed)


def bad_crc(data):
    changed = bytearray(data)
    changed[-8] ^= 1
    return bytes(changed)


def field(name, text, *, kind=None):
    """Return a fault that writes ``text`` into a header field or an extension."""

    def spoil(folder):
        image = nib.load(folder / IMAGE)
        if kind is None:
            image.header[name] = text
        else:
            image.header.extensions.append(nib.nifti1.Nifti1Extension(kind, text))
        nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), folder / IMAGE)

    return spoil


def raw_header(**fields):
    """Return a fault that sets header fields past nibabel's checks."""

    def change(data):
        content = bytearray(gzip.decompress(data))
        for name, value in fields.items():
            kind, start = nib.nifti1.header_dtype.fields[name][:2]
            content[start : start + kind.itemsize] = np.array(value, dtype=kind.base).tobytes()
        return gzip.compress(bytes(content))

    return change


def gzip_named(data):
    stream = io.BytesIO()
    with gzip.GzipFile("DOE^JOHN.nii", "wb", fileobj=stream) as wrapped:
        wrapped.write(gzip.decompress(data))
    return stream.getvalue()


def moved(mm):
    affine = LPS.copy()
    affine[2, 3] += mm
    return affine


def coloured(folder):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(folder / IMAGE, np.zeros(SHAPE, dtype=dtype))


def no_affine(folder):
    image = nib.load(folder / IMAGE)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, folder / IMAGE)


def remove_gland_slice(array):
    array = array.copy()
    array[:, :, 7] = 0
    return array


def far_off(array):
    return np.roll(array, 17, axis=1)


def pair(change):
    """Return a fault that changes image and mask alike."""

    def spoil(folder):
        for name in (IMAGE, MASK):
            edit(name, change)(folder)

    return spoil


FAULTS = {
    "truncated gzip": (put(IMAGE, lambda d: d[: len(d) // 2]), "truncated", ERROR, "the gzip stream ends too early"),
    "cut gzip tail": (put(MASK, lambda d: d[:-4]), "truncated", ERROR, "the gzip stream ends too early"),
    "bit flip": (put(IMAGE, flipped_bit), "damaged", ERROR, "the gzip stream is damaged"),
    "wrong checksum": (put(IMAGE, bad_crc), "damaged", ERROR, "CRC check failed"),
    "empty file": (put(IMAGE, lambda d: b""), "empty-file", ERROR, "0 bytes"),
    "html": (put(IMAGE, lambda d: b"<!DOCTYPE html><html>login</html>"), "not-an-image", ERROR, "HTML"),
    "noise": (put(IMAGE, lambda d: bytes(range(256)) * 9), "not-an-image", ERROR, "is no NIfTI file"),
    "short data": (
        put(IMAGE, lambda d: gzip.compress(gzip.decompress(d)[:-5000])),
        "truncated",
        ERROR,
        "the header promises",
    ),
    "colours": (coloured, "voxel-type", ERROR, "holds colours (RGB)"),
    "complex": (edit(IMAGE, lambda a: a.astype(np.complex64)), "voxel-type", ERROR, "voxels of type complex64"),
    "two frames": (edit(IMAGE, lambda a: np.stack([a, a], -1)), "dimensions", ERROR, "[60, 60, 14, 2]"),
    "flat": (edit(IMAGE, lambda a: a[..., 5]), "dimensions", ERROR, "[60, 60]"),
    "no slices": (put(IMAGE, raw_header(dim=[3, 60, 60, 0, 1, 1, 1, 1])), "no-slices", ERROR, "[60, 60, 0]"),
    "nan": (edit(IMAGE, with_value(np.nan)), "not-finite", ERROR, "holds 1 voxels that are NaN or Inf"),
    "inf": (edit(IMAGE, with_value(np.inf)), "not-finite", ERROR, "holds 1 voxels that are NaN or Inf"),
    "huge": (edit(IMAGE, with_value(1e308, dtype=np.float64)), "extreme-values", ERROR, "values up to 1e+308"),
    "constant": (edit(IMAGE, lambda a: np.full_like(a, 7)), "constant", WARNING, "every voxel is 7"),
    "no affine": (no_affine, "affine-invalid", ERROR, "qform and sform codes are 0"),
    "zero affine": (
        put(IMAGE, raw_header(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4)),
        "affine-invalid",
        ERROR,
        "length 0",
    ),
    "singular affine": (
        put(IMAGE, raw_header(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0], srow_z=[0, 0, 3, 0])),
        "affine-invalid",
        ERROR,
        "two of its axes are parallel",
    ),
    "nan affine": (put(IMAGE, raw_header(srow_x=[np.nan] * 4)), "affine-invalid", ERROR, "NaN"),
    "shifted 40 mm": (edit(MASK, same, moved(40)), "affine-mismatch", ERROR, "up to 40.0 mm beside"),
    "shifted 0.2 mm": (edit(MASK, same, moved(0.2)), "affine-mismatch", ERROR, "up to 0.2 mm beside"),
    "mirrored": (edit(MASK, same, np.diag([2.0, -2, 3, 1])), "affine-mismatch", ERROR, "up to 236.0 mm beside"),
    "half the spacing": (edit(MASK, same, np.diag([-2.0, -2, 1.5, 1])), "affine-mismatch", ERROR, "19.5 mm beside"),
    "fewer mask slices": (edit(MASK, lambda a: a[..., :12]), "shape-mismatch", ERROR, "[60, 60, 12], the image"),
    "smaller mask": (edit(MASK, lambda a: a[:50]), "shape-mismatch", ERROR, "[50, 60, 14], the image"),
    "0 and 255": (edit(MASK, lambda a: a * 255), "label-values", ERROR, "255: "),
    "label 2": (edit(MASK, with_value(2, where=(30, 30, 7), dtype=np.uint8)), "label-values", ERROR, "2: 1"),
    "label 7": (edit(MASK, lambda a: a * 7), "label-values", ERROR, "7: "),
    "negative label": (edit(MASK, with_value(-1, dtype=np.int16)), "label-values", ERROR, "-1: 1"),
    "fraction": (edit(MASK, with_value(0.5, where=(30, 30, 7))), "label-fractions", ERROR, "0, 0.5, 1"),
    "float mask": (edit(MASK, lambda a: a.astype(np.float32)), "label-type", WARNING, "stored as float32"),
    "nan in mask": (edit(MASK, with_value(np.nan)), "not-finite", ERROR, "the mask holds NaN"),
    "empty mask": (edit(MASK, np.zeros_like), "label-empty", WARNING, "marks no voxel"),
    "full mask": (edit(MASK, np.ones_like), "label-full", ERROR, "marks 100% of all voxels"),
    "inverted mask": (edit(MASK, lambda a: 1 - a), "label-full", ERROR, "% of all voxels"),
    "gap in the gland": (edit(MASK, remove_gland_slice), "label-gap", WARNING, "slice(s) 7 within the gland"),
    "tiny gland": (edit(MASK, lambda a: a * (np.indices(a.shape)[0] == 30)), "gland-volume", WARNING, "a gland of "),
    "mask elsewhere": (edit(MASK, far_off), "off-centre", WARNING, "of the image's width from front to back"),
    "front to back": (edit(MASK, lambda a: a[:, ::-1]), "upside-down", WARNING, "if turned front to back"),
    "upside down": (
        edit(MASK, lambda a: a[:, :, ::-1]),
        "upside-down",
        WARNING,
        "if turned upside down along the slices",
    ),
    "one slice": (pair(lambda a: a[:, :, 7:8]), "one-slice", WARNING, "has a single slice"),
    "no mask": (lambda f: (f / MASK).unlink(), "no-mask", ERROR, "an image without mask"),
    "no image": (lambda f: (f / IMAGE).unlink(), "no-image", ERROR, "a mask without image"),
    "second image": (
        lambda f: (f / "HK/Case14.nii").write_bytes(gzip.decompress((f / IMAGE).read_bytes())),
        "two-files",
        ERROR,
        "a second image beside HK/Case14.nii",
    ),
    "name in descrip": (field("descrip", b"DOE^JOHN"), "personal-data", ERROR, "descrip"),
    "date in aux_file": (field("aux_file", b"scan 19991231"), "personal-data", ERROR, "aux_file"),
    "harmless descrip": (field("descrip", b"FSL 6.0"), "header-text", WARNING, "descrip"),
    "db_name": (field("db_name", b"mydb"), "header-text", WARNING, "db_name"),
    "dicom extension": (field("", b"\x08\0\x60\0CS\x02\0MR", kind=2), "personal-data", ERROR, "header extension"),
    "other extension": (field("", b"<xml/>", kind="afni"), "header-text", WARNING, "header extension"),
    "name in extension": (field("", b"x DOE^JOHN", kind="comment"), "personal-data", ERROR, "header extension"),
    "name in gzip": (put(IMAGE, gzip_named), "personal-data", ERROR, "gzip file name"),
}


def test_a_good_set_has_no_finding(folder):
    report = check(folder, output=folder.parent / "report")
    assert report.findings == [] and report.exit_code == 0
    assert [case["case"] for case in report.cases] == list(CASES)
    assert report.cases[0]["size"] == "60x60x14" and report.cases[0]["gland_slices"] == 11
    assert not (folder.parent / "report/pictures").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_alone_with_case_file_and_cure(folder, fault):
    spoil, code, severity, words = FAULTS[fault]
    spoil(folder)
    report = check(folder)
    named = [finding for finding in report.findings if finding.code == code]
    assert codes(report)[:1] == [("HK/Case14", code, severity)], str(report)
    others = {finding.code for finding in report.findings} - {code}
    # A single slice of a gland is small, too.
    assert others <= ({"gland-volume"} if fault == "one slice" else set()), str(report)
    assert all(finding.case == "HK/Case14" for finding in report.findings)
    assert words in named[0].message and named[0].cure and "\n" not in str(named[0])
    assert named[0].file.startswith("HK/Case14")
    assert report.exit_code == (2 if severity == ERROR else 0)


def test_what_is_unusual_but_right_is_no_finding(folder):
    image, mask = (np.asanyarray(nib.load(folder / name).dataobj) for name in (IMAGE, MASK))
    # Axes in another order, with the affine that says so; one frame in a fourth axis; a mask of another integer type.
    other = np.stack([LPS[:, 2], LPS[:, 0], LPS[:, 1], LPS[:, 3]], axis=1)
    save(folder / IMAGE, image.transpose(2, 0, 1)[..., None], other)
    save(folder / MASK, mask.transpose(2, 0, 1).astype(np.int16), other)
    (folder / "UCL/notes.txt").write_text("kept")
    (folder / "UCL/._Case25.nii.gz").write_bytes(b"macOS")
    (folder / "UCL/Case25_segmentation.nii.gz").rename(folder / "UCL/Case25_Segmentation.nii.gz")
    (folder / "HK/Case13.nii").write_bytes(gzip.decompress((folder / "HK/Case13.nii.gz").read_bytes()))
    (folder / "HK/Case13.nii.gz").unlink()
    assert str(check(folder)) == "3 cases: 0 errors, 0 warnings"


def test_zone_labels_can_be_allowed(folder):
    mask = np.asanyarray(nib.load(folder / MASK).dataobj).copy()
    mask[:30] *= 2
    save(folder / MASK, mask)
    (finding,) = check(folder).findings
    assert "0: " in finding.message and "map 1 and 2 to 1" in finding.cure
    assert check(folder, label_values=(0, 1, 2)).findings == []


@pytest.mark.parametrize(("values", "found"), [((1, 2), []), ((1, 3), ["label-values"]), ((255,), ["label-values"])])
def test_the_public_set_keeps_zones_in_two_sites(folder, values, found):
    mask = np.asanyarray(nib.load(folder / MASK).dataobj)
    for path in (folder / "HK").glob("*"):
        (folder / "BMC").mkdir(exist_ok=True)
        path.rename(folder / "BMC" / path.name)
    save(folder / "BMC/Case14_Segmentation.nii.gz", mask * values[0])
    (folder / "BMC/Case14_segmentation.nii.gz").unlink()
    if len(values) > 1:
        save(folder / "BMC/Case14_Segmentation.nii.gz", np.where(np.indices(SHAPE)[0] < 30, mask * values[1], mask))
    assert [finding.code for finding in check(folder).findings] == found


def test_zones_in_a_prepared_folder_are_found(folder, tmp_path):
    (folder / "HK").rename(folder / "BMC")
    prepare("six-site", folder, tmp_path / "out", workers=1, progress=False)
    path = tmp_path / "out/BMC/Case14_segmentation.nii.gz"
    save(path, np.asanyarray(nib.load(path).dataobj) * 2)
    assert [finding.code for finding in check(tmp_path / "out").findings] == ["changed", "label-values"]


def test_a_coarse_synthetic_set_is_found_good(tmp_path):
    make_phantom(tmp_path, cases_per_site=1, size=48, slices=7, progress=False)
    assert str(check(tmp_path)) == "6 cases: 0 errors, 0 warnings"


def test_report_files_and_pictures(folder, tmp_path):
    FAULTS["0 and 255"][0](folder)
    FAULTS["truncated gzip"][0](folder)
    report = check(folder, output=tmp_path / "report")
    names = sorted(path.relative_to(tmp_path / "report").as_posix() for path in report.written)
    assert names == ["cases.csv", "findings.csv", "pictures/HK_Case14.png", "report.json"]
    content = json.loads((tmp_path / "report/report.json").read_text())
    assert (content["errors"], content["codes"]) == (2, {"label-values": 1, "truncated": 1})
    table = report.table
    assert list(table["code"]) == ["truncated", "label-values"] and list(table["severity"]) == ["error", "error"]
    assert len((tmp_path / "report/findings.csv").read_text().splitlines()) == 3
    assert (tmp_path / "report/pictures/HK_Case14.png").read_bytes().startswith(b"\x89PNG")
    assert str(report).endswith(f"3 cases: 2 errors, 0 warnings; report in {tmp_path / 'report'}")


def test_fix_mends_what_is_safe_and_nothing_else(folder, tmp_path):
    before = {name: np.asanyarray(nib.load(folder / name).dataobj) for name in (IMAGE, MASK)}
    field("descrip", b"DOE^JOHN")(folder)
    field("", b"born 19500101", kind="comment")(folder)
    edit(MASK, lambda a: a.astype(np.float32) * 255)(folder)
    edit("HK/Case13_segmentation.nii.gz", lambda a: a.astype(np.float32))(folder)
    edit("UCL/Case25_segmentation.nii.gz", lambda a: a * 7)(folder)
    untouched = {p: p.read_bytes() for p in folder.rglob("*.gz") if p.name in ("Case13.nii.gz", "Case25.nii.gz")}
    voxels_before = gzip.decompress((folder / IMAGE).read_bytes())[-before[IMAGE].nbytes :]
    report = check(folder, fix=True)
    assert sorted(report.fixed) == [
        "HK/Case13_segmentation.nii.gz: stored whole numbers as uint8",
        "HK/Case14.nii.gz: emptied the texts of its header",
        "HK/Case14_segmentation.nii.gz: wrote 255 as 1, stored as uint8",
    ]
    assert codes(report) == [("UCL/Case25", "label-values", ERROR)]
    image, mask = nib.load(folder / IMAGE), nib.load(folder / MASK)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), before[IMAGE])
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), before[MASK])
    np.testing.assert_array_equal(image.affine, LPS)
    np.testing.assert_array_equal(mask.affine, LPS)
    assert mask.get_data_dtype() == np.uint8 and image.header["descrip"].item() == b"" and not image.header.extensions
    data = gzip.decompress((folder / IMAGE).read_bytes())
    assert b"DOE" not in data and b"1950" not in data and data.endswith(voxels_before)
    assert {p: p.read_bytes() for p in untouched} == untouched
    assert not list(folder.rglob(".tmp*"))


def prepared(folder, tmp_path):
    prepare("six-site", folder, tmp_path / "out", workers=1, progress=False)
    return tmp_path / "out"


def test_manifest_is_held_against_the_files(folder, tmp_path):
    out = prepared(folder, tmp_path)
    assert check(out).findings == []
    save(out / IMAGE, scan(9)[0])
    (out / "UCL/Case25.nii.gz").unlink()
    (out / "UCL/Case25_segmentation.nii.gz").unlink()
    report = check(out)
    found = [(f.code, f.file) for f in report.findings]
    missing = [("missing-file", "UCL/Case25.nii.gz"), ("missing-file", "UCL/Case25_segmentation.nii.gz")]
    assert found == [("changed", IMAGE), *missing]


def test_fix_keeps_the_manifest_true_but_never_hides_a_changed_file(folder, tmp_path):
    out = prepared(folder, tmp_path)
    manifest = Manifest(out)
    data = raw_header(descrip=b"DOE^JOHN")((out / IMAGE).read_bytes())
    (out / IMAGE).write_bytes(data)
    report = check(out, fix=True)
    assert [f.code for f in report.findings] == ["changed", "personal-data"] and report.fixed == []
    manifest.records["HK/Case14"]["sha256"]["image"] = hashlib.sha256(data).hexdigest()
    manifest.write()
    report = check(out, fix=True)
    assert report.findings == [] and len(report.fixed) == 1
    assert check(out).findings == []


def test_unlabelled_cases_are_checked_without_asking_for_a_mask(folder, tmp_path):
    (folder / MASK).unlink()
    out = prepared(folder, tmp_path)
    assert check(out).findings == []
    put("unlabelled/" + IMAGE, flipped_bit)(out)
    assert [f.code for f in check(out).findings] == ["damaged"]


def test_a_date_in_a_files_name_is_found(folder):
    for end in (".nii.gz", "_segmentation.nii.gz"):
        (folder / f"HK/Case14{end}").rename(folder / f"HK/P_1956-03-12{end}")
    assert [(f.code, f.file) for f in check(folder).findings] == [
        ("personal-data", "HK/P_1956-03-12.nii.gz"),
        ("personal-data", "HK/P_1956-03-12_segmentation.nii.gz"),
    ]


def test_a_report_that_cannot_be_written_is_refused_at_once(folder):
    (folder / "notes").write_text("kept")
    with pytest.raises(InputError, match=r"the report folder .*notes cannot be written to \(it is a file\)"):
        check(folder, output=folder / "notes")
    with pytest.raises(InputError, match=r"dataset_dir must be the path of a folder, got 3"):
        check(3)


def test_folders_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"the data set folder .*nothing does not exist; give a folder as prepare"):
        check(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no NIfTI file; expected SITE/CaseNN\.nii\.gz"):
        check(tmp_path)


def test_two_processes_find_what_one_finds(folder):
    FAULTS["0 and 255"][0](folder)
    one, two = check(folder), verify(folder, workers=2, progress=False)
    assert (one.findings, one.cases) == (two.findings, two.cases)
