# SPDX-License-Identifier: Apache-2.0
"""DICOM series and NRRD labels written byte by byte, and prepare run on them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np

from akd_monai.prostate import prepare_dataset

UID = "1.2.826.0.1.3680043.10.9999"
# 12 degrees of tilt, as an axial series of the prostate has.
TILTED = (1.0, 0.0, 0.0, 0.0, np.cos(0.2), np.sin(0.2))
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SHAPE = (10, 8, 6)
SPACING = (0.5, 0.5, 3.0)


def element(group: int, number: int, kind: str, value: bytes) -> bytes:
    """Encode one element in explicit little endian."""
    value += b" " * (len(value) % 2) if kind not in ("UI", "OB", "OW") else b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", group, number, kind.encode())
    return head + (struct.pack("<HI", 0, len(value)) if kind in ("OB", "OW") else struct.pack("<H", len(value))) + value


def decimals(values) -> bytes:
    return "\\".join(f"{v:.10g}" for v in values).encode()


def short(group: int, number: int, value: int) -> bytes:
    return element(group, number, "US", struct.pack("<H", value))


def dicom(
    pixels, *, position, orientation=STRAIGHT, series="1", instance=1, description="t2_tse_tra", **other
) -> bytes:
    """Return one DICOM file; ``pixels`` are ``[row, column]``. Personal fields are filled on purpose."""
    spacing = other.get("spacing", SPACING)
    elements = [
        element(8, 0x16, "UI", b"1.2.840.10008.5.1.4.1.1.4"),
        element(8, 0x18, "UI", f"{UID}.{series}.{instance}".encode()),
        element(8, 0x20, "DA", b"19991231"),
        element(8, 0x60, "CS", other.get("modality", "MR").encode()),
        element(8, 0x70, "LO", other.get("maker", "SIEMENS").encode()),
        element(8, 0x103E, "LO", description.encode()),
        element(0x10, 0x10, "PN", b"DOE^JOHN"),
        element(0x10, 0x20, "LO", b"HOSPITAL-4711"),
        element(0x18, 0x50, "DS", b"3"),
        element(0x18, 0x87, "DS", b"3"),
        element(0x18, 0x88, "DS", b"1"),
        element(0x18, 0x1250, "SH", b"Endorectal"),
        element(0x20, 0x0D, "UI", f"{UID}.9".encode()),
        element(0x20, 0x0E, "UI", f"{UID}.{series}".encode()),
        element(0x20, 0x13, "IS", str(instance).encode()),
        *([element(0x20, 0x32, "DS", decimals(position))] if position is not None else []),
        element(0x20, 0x37, "DS", decimals(orientation)),
        short(0x28, 2, 1),
        element(0x28, 4, "CS", b"MONOCHROME2"),
        short(0x28, 0x10, pixels.shape[0]),
        short(0x28, 0x11, pixels.shape[1]),
        element(0x28, 0x30, "DS", decimals((spacing[1], spacing[0]))),
        short(0x28, 0x100, 16),
        short(0x28, 0x101, 16),
        short(0x28, 0x102, 15),
        short(0x28, 0x103, 0),
        element(0x7FE0, 0x10, "OW", pixels.astype("<u2").tobytes()),
    ]
    meta = [
        element(2, 1, "OB", b"\0\1"),
        element(2, 2, "UI", b"1.2.840.10008.5.1.4.1.1.4"),
        element(2, 3, "UI", f"{UID}.{series}.{instance}".encode()),
        element(2, 0x10, "UI", b"1.2.840.10008.1.2.1"),
        element(2, 0x12, "UI", f"{UID}.8".encode()),
    ]
    length = element(2, 0, "UL", struct.pack("<I", sum(map(len, meta))))
    return b"\0" * 128 + b"DICM" + length + b"".join(meta) + b"".join(elements)


def places(orientation, count, origin=(-10.0, -20.0, 5.0), beside=(0.0, 0.0, 0.0)):
    """Positions of slices along the normal, each moved by ``beside`` mm."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [np.array(origin) + k * SPACING[2] * normal + np.array(beside) for k in range(count)]


def write_series(folder: Path, volume, *, orientation=STRAIGHT, names=None, keep=None, **other) -> None:
    """Write ``volume[i, j, k]`` as one file a slice; ``names`` says how the slices are called."""
    folder.mkdir(parents=True, exist_ok=True)
    where = places(orientation, volume.shape[2])
    for k in keep if keep is not None else range(volume.shape[2]):
        name = names[k] if names else f"{k:06d}.dcm"
        data = dicom(volume[:, :, k].T, position=where[k], orientation=orientation, instance=k + 1, **other)
        (folder / name).write_bytes(data)


def vector(values) -> str:
    return "(" + ",".join(f"{x:.12g}" for x in values) + ")"


def write_nrrd(path: Path, label, *, orientation=STRAIGHT, origin=None, spacing=SPACING) -> None:
    """Write ``label[i, j, k]``; the origin is the corner of the first voxel of ``places``, as in NCI-ISBI 2013."""
    directions = np.stack([orientation[:3], orientation[3:], np.cross(orientation[:3], orientation[3:])], axis=1)
    steps = directions * np.array(spacing)
    corner = places(orientation, 1)[0] - steps @ [0.5, 0.5, 0.5] if origin is None else np.array(origin)
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {' '.join(map(str, label.shape))}\nspace directions: {' '.join(map(vector, steps.T))}\n"
        f"kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: {vector(corner)}\n\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + label.astype("<i2").tobytes(order="F"))


def grey(seed=0):
    return np.random.default_rng(seed).integers(1, 2000, SHAPE).astype(np.uint16)


def zones():
    """A label with both zones, in which no two slices and no two mirror images are alike."""
    label = np.zeros(SHAPE, dtype=np.int16)
    for k in range(1, 5):
        label[2 : 4 + k, 1:5, k] = 1
        label[3:4, 2 : 3 + k // 2, k] = 2
    return label


def run(source, root, out, **other):
    return prepare_dataset(source, root, out, workers=0, progress=False, **other)


def record_of(out, name):
    return next(r for r in json.loads((out / "manifest.json").read_text())["cases"] if r["case_id"] == name)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)
