# SPDX-License-Identifier: Apache-2.0
"""Read damaged volume files in bounded memory: ``python mutants.py SEED COUNT FORMAT``, with ``tests`` on PYTHONPATH.

Prints how many were refused, how many were read as if they were undamaged, and how many with other voxels or another
grid. Any other exception than ``FileError`` ends it. Bits are flipped, bytes replaced and the end cut off, in the
stream (``nii.gz``) or in the header alone (``nifti-header``, ``mha``, ``mhd``), which no checksum protects.
"""

from __future__ import annotations

import collections
import gzip
import json
import logging
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from volume_tools import AFFINE, gland, meta_image, nifti, nrrd

from akd_monai.data.gate import check_classes, check_voxels, class_counts
from akd_monai.data.nifti import FileError
from akd_monai.data.volume_file import read_volume_file

MEMORY = 3 << 30
SHAPE = (40, 36, 12)


def clean(kind: str) -> tuple[str, bytes, int]:
    """Return a file's name, its bytes, and how many of them may be damaged."""
    if kind == "nii.gz":
        data = gzip.compress(nifti(gland(SHAPE)), mtime=0)
        return "a.nii.gz", data, len(data)
    if kind == "nifti-header":
        return "a.nii", nifti(gland(SHAPE)), 352
    if kind == "nrrd":
        data = nrrd(gland(SHAPE))
        return "a.nrrd", data, len(data)
    if kind == "mhd":
        data = meta_image(gland(SHAPE), data_file="a.raw")
        return "a.mhd", data, len(data)
    data = meta_image(gland(SHAPE))
    return "a.mha", data, data.index(b"LOCAL") + 6


def mutant(data: bytes, span: int, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, span, rng.integers(1, 4)):
        if rng.random() < 0.5:
            changed[place] ^= 1 << int(rng.integers(8))
        else:
            changed[place] = int(rng.integers(256))
    if rng.random() < 0.2:
        del changed[int(rng.integers(len(changed))) :]
    return bytes(changed)


def outcome(path: Path) -> str:
    try:
        volume = read_volume_file(path)
        check_voxels(volume.array)
        check_classes(class_counts(volume.array), (0, 1))
    except FileError as error:
        return "refused" if error.remedy and "\n" not in str(error) else f"refused without remedy: {error}"
    same = volume.array.shape == SHAPE and np.array_equal(volume.array, gland(SHAPE))
    return "same" if same and np.allclose(volume.affine, AFFINE, atol=1e-4) else "other"


def peak_mb() -> int:
    """Return the peak of this process alone; ru_maxrss begins at that of the process that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def main(seed: int, count: int, kind: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable()
    rng = np.random.default_rng(seed)
    name, data, span = clean(kind)
    found: collections.Counter[str] = collections.Counter(refused=0, same=0, other=0)
    with tempfile.TemporaryDirectory() as folder:
        # the voxels of the header in a.mhd
        (Path(folder) / "a.raw").write_bytes(gland(SHAPE).astype("<i2").tobytes(order="F"))
        for _ in range(count):
            path = Path(folder) / name
            damaged = mutant(data, span, rng)
            path.write_bytes(damaged)
            found[outcome(path)] += 1
    found["peak_mb"] = peak_mb()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
