# SPDX-License-Identifier: Apache-2.0
"""Small volumes in the six-site layout, and prepare run on them."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from akd_monai.prostate import prepare_dataset

LPS = np.diag([-0.5, -0.5, 3.0, 1.0])


def grey(seed=0, shape=(12, 10, 5)):
    return np.random.default_rng(seed).integers(1, 2000, shape).astype(np.int16)


def gland(shape=(12, 10, 5)):
    label = np.zeros(shape, dtype=np.uint8)
    label[4:8, 3:7, 1:4] = 1
    return label


def save(path, array, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def six_site(root, *names):
    for seed, name in enumerate(names):
        save(root / f"{name}.nii.gz", grey(seed))
        save(root / f"{name}_segmentation.nii.gz", gland())
    return root


def run(root, out, source="six-site", workers=0, **other):
    return prepare_dataset(source, root, out, workers=workers, progress=False, **other)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def state(folder):
    """Return the files of a folder, but for the lock, whose content is the number of the process."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
