# SPDX-License-Identifier: Apache-2.0
"""Small volumes with zones, and prepare run on them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np

from akd_monai.prostate import prepare_dataset

SHAPE = (9, 8, 7)
RAS = np.array([[0.5, 0, 0, 10], [0, 0.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1.0]])


def grey(seed=0):
    return np.random.default_rng(seed).integers(1, 2000, SHAPE).astype(np.int16)


def label(values=(1, 2)):
    result = np.zeros(SHAPE, dtype=np.uint8)
    result[2:5, 1:6, 1:4] = values[0]
    result[3:5, 2:4, 2:6] = values[-1]
    return result


def save(path, array, affine=RAS):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header["descrip"] = b"made for DOE^JOHN"
    nib.save(image, path)


def run(source, root, out, **other):
    return prepare_dataset(source, root, out, workers=0, progress=False, **other)


def records(out):
    return {r["case_id"]: r for r in json.loads((out / "manifest.json").read_text())["cases"]}


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)
