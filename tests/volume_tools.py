# SPDX-License-Identifier: Apache-2.0
"""Small volume files of every format, and their damaged relatives."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])
SHAPE = (6, 5, 4)
_FIELDS = nib.nifti1.header_dtype.fields


def grey(shape=SHAPE, dtype=np.int16):
    """Return voxels that are all different."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def gland(shape=SHAPE):
    """Return a small block of ones."""
    mask = np.zeros(shape, np.uint8)
    mask[2:4, 2:4, 1:3] = 1
    return mask


def nifti(array, affine=AFFINE, **fields) -> bytes:
    """Return the bytes of a NIfTI file, with header fields set past nibabel's checks."""
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    data = bytearray(image.to_bytes())
    for name, value in fields.items():
        kind, start = _FIELDS[name][:2]
        data[start : start + kind.itemsize] = np.array(value, dtype=kind.base).tobytes()
    return bytes(data)


def sform(affine) -> dict:
    """Return the header fields of a sform."""
    return {f"srow_{axis}": row for axis, row in zip("xyz", np.asarray(affine, np.float32), strict=False)}


def put(path: Path, data: bytes) -> Path:
    """Write a file, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def nrrd(array, *, encoding="gzip", data_file=None, **fields) -> bytes:
    """Return an NRRD file of int16 voxels, or its header alone if its data are in ``data_file``."""
    lines = {
        "type": "short",
        "dimension": array.ndim,
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)),
        "space directions": "(0.5,0,0) (0,0.5,0) (0,0,3)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": encoding,
        "space origin": "(0,0,0)",
    }
    lines |= {name.replace("_", " "): value for name, value in fields.items()}
    if data_file:
        lines["data file"] = data_file
    header = "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in lines.items() if value is not None)
    if data_file:
        return header.encode()
    voxels = array.astype("<i2").tobytes(order="F")
    return header.encode() + b"\n" + (gzip.compress(voxels, mtime=0) if encoding == "gzip" else voxels)


def meta_image(array, *, data_file="LOCAL", data=None, **fields) -> bytes:
    """Return a MetaImage of int16 voxels, or its header alone if its data are in ``data_file``."""
    lines = {
        "ObjectType": "Image",
        "NDims": array.ndim,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "0.5 0.5 3",
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": "MET_SHORT",
    }
    lines |= fields
    lines["ElementDataFile"] = data_file
    header = "".join(f"{name} = {value}\n" for name, value in lines.items() if value is not None).encode()
    if data_file != "LOCAL":
        return header
    return header + (array.astype("<i2").tobytes(order="F") if data is None else data)
