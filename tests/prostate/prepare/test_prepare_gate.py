# SPDX-License-Identifier: Apache-2.0
"""What prepare refuses of a volume, or says of it; and a crash of a reader costs one case."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from prepare_tools import gland, grey, run, voxels
from volume_tools import AFFINE, meta_image, nifti, nrrd, put, sform

SHAPE = (12, 10, 5)
MIRRORED = np.diag([0.5, -0.5, 3.0, 1.0])
SHEARED = AFFINE.copy()
SHEARED[0, 2] = 0.8


def prepared(tmp_path, image=None, label=None, name="b.nii.gz"):
    """Prepare a good case ``a`` and the case ``b`` of the given bytes."""
    raw = tmp_path / "raw"
    put(raw / "a.nii.gz", nifti(grey(0)))
    put(raw / "a_seg.nii.gz", nifti(gland()))
    put(raw / name, nifti(grey(1)) if image is None else image)
    put(raw / "b_seg.nii.gz", nifti(gland()) if label is None else label)
    return run(raw, tmp_path / "out", "folder")


def one_hot():
    return np.stack([1 - gland(), gland()], axis=-1)


BAD = {
    "one-hot label": (None, nifti(one_hot()), "dimensions", "class numbers in place of a channel a class"),
    "time series": (nifti(np.stack([grey()] * 3, axis=-1)), None, "dimensions", "one frame of a time series"),
    "no affine": (nifti(grey(), qform_code=0, sform_code=0), None, "affine-invalid", "with its geometry"),
    "sheared": (nifti(grey(), **sform(SHEARED)), None, "affine-invalid", "with its geometry"),
    "huge": (nifti(grey().astype(np.float32) * 1e34), None, "extreme-values", "export the image again"),
    "units": (nifti(grey(), xyzt_units=7), None, "units", "with its geometry"),
    "fraction": (None, nifti(gland() * np.float32(0.5)), "label-fractions", "nearest neighbour"),
    "bomb": (nifti(grey()) + bytes(1 << 20), None, "oversized", "download the file again"),
}


@pytest.mark.fault(
    "Preparing and verifying data",
    "a bad volume among raw data",
    injected="one-hot, time series, no affine, sheared, huge values, units, fractions, bomb",
    outcome="costs its case, with the remedy",
)
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_volume_costs_its_case(tmp_path, fault):
    image, label, code, remedy = BAD[fault]
    result = prepared(tmp_path, image, label)
    assert len(result.done) == 1
    assert [failure.code for failure in result.failed] == [code]
    assert remedy in result.failed[0].remedy


@pytest.mark.fault(
    "Preparing and verifying data",
    "headers that ITK trusts",
    injected="NRRD without geometry, a MetaImage of 30000 dimensions",
    outcome="costs its case",
)
@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("b.nrrd", nrrd(grey(1), space=None, space_directions=None, spacings="0.5 0.5 3")),
        ("b.mha", meta_image(grey(1), NDims=30000)),
    ],
)
def test_headers_that_itk_trusts(tmp_path, name, image):
    result = prepared(tmp_path, image, name=name)
    assert len(result.done) == len(result.failed) == 1


DOUBTS = {
    "sform mirrored": (
        nifti(grey(1), **sform(MIRRORED)),
        nifti(gland(), MIRRORED),
        "qform and sform lie up to 11.0 mm",
    ),
    "0/3": (None, nifti(gland() * np.uint8(3)), "the label holds 3, taken as gland"),
    "inverted": (None, nifti(np.where(np.arange(600).reshape(SHAPE) < 30, 0, 1).astype(np.uint8)), "covers 95% of the"),
    "constant": (nifti(np.full(SHAPE, 7, np.int16)), None, "the image is constant (7)"),
}


@pytest.mark.fault(
    "Preparing and verifying data",
    "odd but usable volumes",
    injected="mirrored sform, label 0/3, inverted label, constant image",
    outcome="prepared with a warning",
)
@pytest.mark.parametrize("doubt", DOUBTS)
def test_what_is_odd_is_a_warning(tmp_path, doubt):
    image, label, words = DOUBTS[doubt]
    result = prepared(tmp_path, image, label)
    assert not result.failed
    assert any(words in warning for warnings in result.warnings.values() for warning in warnings), result.warnings


def test_metres_become_millimetres(tmp_path):
    stored = AFFINE.copy()
    stored[:3] /= 1000
    result = prepared(tmp_path, nifti(grey(1), stored, xyzt_units=1))
    assert not result.failed
    assert {case.split("/")[0] for case in result.done} == {"LOCAL"}
    assert sum(np.array_equal(voxels(path), grey(1)) for path in (tmp_path / "out/LOCAL").glob("Case0?.nii.gz")) == 1


# Python runs a module of this name when it starts, so also in the processes that prepare starts.
CRASH = """
import os, signal
import akd_monai.data.nifti as module
read = module.read_nifti
def crash(path):
    if path.name == "Case02.nii.gz":
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(path)
module.read_nifti = crash
"""


@pytest.mark.fault(
    "Preparing and verifying data",
    "a native crash of a reader",
    injected="SIGSEGV while one file is read",
    outcome="costs one case",
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_of_a_reader_costs_one_case(tmp_path, monkeypatch, workers):
    raw = tmp_path / "raw"
    for name in ("Case01", "Case02", "Case03"):
        put(raw / f"HK/{name}.nii.gz", nifti(grey()))
        put(raw / f"HK/{name}_segmentation.nii.gz", nifti(gland()))
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(CRASH)
    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "start"), root]))
    result = run(raw, tmp_path / "out", workers=workers)
    assert sorted(result.done) == ["HK/Case01", "HK/Case03"]
    assert [(failure.case, failure.code) for failure in result.failed] == [("HK/Case02", "worker-died")]
    assert "a file that crashes its reader" in result.failed[0].remedy
