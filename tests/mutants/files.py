# SPDX-License-Identifier: Apache-2.0
"""Undamaged cases of every format, and their mutants: what was done to which file, and whether a checksum protects it."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from prostate.prepare.dicom_files import dicom
from volume_tools import meta_image, nifti, nrrd

SHAPE = (24, 20, 6)
AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])
FORMATS = ("nii.gz", "nii", "nrrd", "mha", "mhd", "dicom")
_HUGE = (30000, 32767, -1, 0, 2**31 - 1)
_PART = 64


def image() -> np.ndarray:
    """Return a bright ball on noise, as int16."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    return np.rint(200 + 300 * ((grid**2).sum(axis=0) < 0.5) + noise).astype(np.int16)


def mask() -> np.ndarray:
    """Return a ball as uint8."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    return ((grid**2).sum(axis=0) < 0.4).astype(np.uint8)


def clean(kind: str) -> dict[str, bytes]:
    """Return the files of an undamaged case by their names: image and mask, in one format."""
    if kind in ("nii", "nii.gz"):
        pair = {f"case1.{kind}": nifti(image(), AFFINE), f"case1_segmentation.{kind}": nifti(mask(), AFFINE)}
        return {name: gzip.compress(data, mtime=0) for name, data in pair.items()} if kind == "nii.gz" else pair
    if kind == "nrrd":
        return {"case1.nrrd": nrrd(image()), "case1_segmentation.nrrd": nrrd(mask())}
    if kind == "mha":
        return {"case1.mha": meta_image(image()), "case1_segmentation.mha": meta_image(mask())}
    if kind == "mhd":
        files = {}
        for name, array in (("case1", image()), ("case1_segmentation", mask())):
            files[f"{name}.mhd"] = meta_image(array, data_file=f"{name}.raw")
            files[f"{name}.raw"] = array.astype("<i2").tobytes(order="F")
        return files
    slices = {}
    for number in range(SHAPE[2]):
        pixels = image()[:, :, number].T
        slices[f"t2/{number}.dcm"] = dicom(pixels, position=(0, 0, 3.0 * number), instance=number + 1)
    return slices


@dataclass(frozen=True)
class Mutant:
    """A damaged case.

    Args:
        files: its files by their names.
        file: the one that is damaged.
        what: the kind of damage.
        region: ``"checked"`` if a checksum covers the damage, else ``"header"`` or ``"voxels"``, by its first byte.
    """

    files: dict[str, bytes]
    file: str
    what: str
    region: str


def mutant(kind: str, rng: np.random.Generator) -> Mutant:
    """Damage one file of a case."""
    files = clean(kind)
    name = sorted(files)[int(rng.integers(len(files)))]
    data = files[name]
    rewrapped = name.endswith(".gz") and rng.random() < 0.3
    plain = gzip.decompress(data) if rewrapped else data
    header = header_length(name, plain)
    what = _names()[int(rng.integers(len(_names())))]
    changed = _DAMAGES[what](bytearray(plain), header, rng)
    if what == "huge sizes" and changed == plain:
        what = "flipped bits"
        changed = _DAMAGES[what](bytearray(plain), header, rng)
    region = _region(name, plain, changed, header, rewrapped=rewrapped)
    if rewrapped:
        what += ", compressed again"
        changed = gzip.compress(changed, mtime=0)
    return Mutant({**files, name: changed}, name, what, region)


def header_length(name: str, data: bytes) -> int:
    """Return how many bytes of a file are its header."""
    if name.endswith(".nrrd"):
        return data.index(b"\n\n") + 2
    if name.endswith(".mha"):
        return data.index(b"LOCAL") + 6
    if name.endswith(".dcm"):
        return data.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW")) + 12
    if name.endswith(".nii"):
        return 352
    if name.endswith(".gz"):
        # compressed, its header can no longer be told apart
        return 352 if not data.startswith(b"\x1f\x8b") else 40
    return 0 if name.endswith(".raw") else len(data)


def _region(name: str, plain: bytes, changed: bytes, header: int, *, rewrapped: bool) -> str:
    if name.endswith(".gz") and not rewrapped:
        return "checked"
    first = next((n for n, (a, b) in enumerate(zip(plain, changed, strict=False)) if a != b), len(plain))
    if first < header:
        return "header"
    return "checked" if name.endswith(".nrrd") else "voxels"


def _names() -> list[str]:
    return sorted(_DAMAGES)


def _place(data: bytes, header: int, rng: np.random.Generator) -> int:
    # the header is small beside the voxels, and more can go wrong in it
    end = header if header and rng.random() < 0.6 else len(data)
    return int(rng.integers(max(1, end)))


def _flip(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 4))):
        data[_place(data, header, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _garbage(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    start = _place(data, header, rng)
    noise = rng.bytes(int(rng.integers(1, _PART)))
    data[start : start + len(noise)] = noise
    return bytes(data)


def _truncate(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    return bytes(data[: _place(data, header, rng)])


def _delete(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    start = _place(data, header, rng)
    del data[start : start + int(rng.integers(1, _PART))]
    return bytes(data)


def _duplicate(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    start = _place(data, header, rng)
    part = data[start : start + int(rng.integers(1, 4 * _PART))]
    return bytes(data[:start] + part + data[start:])


def _append(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    # also a second, complete stream, as some programs write them
    tail = gzip.compress(rng.bytes(_PART), mtime=0) if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 2048)))
    return bytes(data) + tail


def _swap(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    """Exchange two fields: two lines of a header of text, else two words of eight bytes."""
    head = bytes(data[:header])
    lines = head.split(b"\n")
    if head and head.isascii() and len(lines) > 4:
        first, second = sorted(rng.choice(len(lines) - 2, 2, replace=False))
        lines[first], lines[second] = lines[second], lines[first]
        return b"\n".join(lines) + bytes(data[header:])
    size = 8
    end = max(header, 3 * size)
    first, second = sorted(int(n) * size for n in rng.choice(min(end, len(data)) // size, 2, replace=False))
    one = data[first : first + size]
    two = data[second : second + size]
    data[first : first + size] = two
    data[second : second + size] = one
    return bytes(data)


def _huge(data: bytearray, header: int, rng: np.random.Generator) -> bytes:
    """State sizes that the file does not hold; a compressed file stays as it is."""
    value = _HUGE[int(rng.integers(len(_HUGE)))]
    if data[:4] == struct.pack("<i", 348):
        kind, start = nib.nifti1.header_dtype.fields["dim"][:2]
        place = start + kind.base.itemsize * int(rng.integers(kind.shape[0]))
        data[place : place + 2] = struct.pack("<h", max(-1, min(value, 32767)))
        return bytes(data)
    if data[128:132] == b"DICM":
        rows = struct.pack("<HH2s", 0x28, 0x10 + int(rng.integers(2)), b"US")
        place = data.index(rows) + 8
        data[place : place + 2] = struct.pack("<H", value % 65536)
        return bytes(data)
    lines = bytes(data[:header]).split(b"\n")
    sized = [
        n for n, line in enumerate(lines) if line.split(b" ")[0] in (b"sizes:", b"DimSize", b"NDims", b"dimension:")
    ]
    if not sized:
        return bytes(data)
    line = lines[sized[int(rng.integers(len(sized)))]]
    words = line.split(b" ")
    words[-1] = str(value).encode()
    return bytes(data).replace(line, b" ".join(words), 1)


_DAMAGES = {
    "appended bytes": _append,
    "deleted bytes": _delete,
    "duplicated part": _duplicate,
    "flipped bits": _flip,
    "garbage": _garbage,
    "huge sizes": _huge,
    "swapped fields": _swap,
    "truncated": _truncate,
}
