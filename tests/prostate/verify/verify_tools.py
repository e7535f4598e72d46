# SPDX-License-Identifier: Apache-2.0
"""A good set of three cases, every fault that its files can have, and verify run on it."""

from __future__ import annotations

import gzip
import io

import nibabel as nib
import numpy as np

from akd_monai.prostate import verify_dataset

ERROR, WARNING = "error", "warning"
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


def check(folder, **options):
    return verify_dataset(folder, workers=1, progress=False, **options)


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


def uncompressed(length):
    """Return a fault that stores the first ``length`` bytes of the image as ``.nii``."""

    def spoil(folder):
        data = gzip.decompress((folder / IMAGE).read_bytes())
        (folder / IMAGE).unlink()
        (folder / "HK/Case14.nii").write_bytes(data[:length])

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


def link_to_text(folder):
    (folder / "passwords").write_text("root:x:0:0")
    (folder / IMAGE).unlink()
    (folder / IMAGE).symlink_to(folder / "passwords")


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
    "cut header": (
        put(IMAGE, lambda d: gzip.compress(gzip.decompress(d)[:100])),
        "not-an-image",
        ERROR,
        "has a damaged NIfTI header",
    ),
    "cut header, no gzip": (uncompressed(100), "not-an-image", ERROR, "has a damaged NIfTI header"),
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
    "sheared affine": (
        put(IMAGE, raw_header(srow_x=[-2, 0, 1, 0])),
        "affine-invalid",
        ERROR,
        "sheared: two of its axes are 18.4 degrees off a right angle",
    ),
    "negative pixdim": (
        put(IMAGE, raw_header(pixdim=[1, -2, 2, 3, 1, 1, 1, 1])),
        "affine-invalid",
        ERROR,
        "voxels of -2 x 2 x 3",
    ),
    "unit": (put(IMAGE, raw_header(xyzt_units=5)), "units", ERROR, "states its lengths in unit 5"),
    "two places": (
        put(IMAGE, raw_header(qform_code=1, qoffset_z=40)),
        "affine-unclear",
        WARNING,
        "qform and sform lie up to 40.0 mm apart; the sform is used",
    ),
    "bytes after the voxels": (
        put(IMAGE, lambda d: gzip.compress(gzip.decompress(d) + bytes(10_000_000))),
        "oversized",
        ERROR,
        "more than the 101152 bytes that its header promises",
    ),
    "30000 cubed": (
        put(IMAGE, raw_header(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])),
        "too-large",
        ERROR,
        "promises 27000000000000 voxels",
    ),
    "link to a text": (link_to_text, "not-an-image", ERROR, "is no NIfTI file (it starts with text)"),
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


def prepared(folder, tmp_path):
    """Return what prepare writes of ``folder``."""
    from akd_monai.prostate import prepare_dataset

    prepare_dataset("six-site", folder, tmp_path / "out", workers=0, progress=False)
    return tmp_path / "out"
