# SPDX-License-Identifier: Apache-2.0
"""What a reader of a page has: a fresh clone, and for most pages small trained bundles in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_tools import FEATURES
from series_tools import write_series
from warm_python import WarmPython

from akd_monai.bundle import change_bundle
from akd_monai.prostate import make_phantom

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "spatial_size": [32, 32],
    "epochs": 1,
    "batch_size": 4,
    "samples_per_epoch": 8,
    "network_data_format#inputs#image#spatial_shape": [32, 32],
    "network_data_format#outputs#pred#spatial_shape": [32, 32],
}
TRAINED = ("unetplusplus", "enet")


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPython]:
    """A ``python`` that has imported everything."""
    with WarmPython() as python:
        yield python


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    """What git has of the project, as it stands in the working tree."""
    root = tmp_path_factory.mktemp("clone") / "akd_monai"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture(scope="session")
def trained(clone, warm, tmp_path_factory) -> Path:
    """A clone with synthetic cases in ``prepared``, a volume ``t2.nii.gz``, and two bundles trained at 32 x 32."""
    root = tmp_path_factory.mktemp("trained") / "akd_monai"
    shutil.copytree(clone, root)
    data = make_phantom(
        root / "prepared", cases_per_site=3, sites=["RUNMC", "I2CVB"], size=32, slices=4, seed=0, progress=False
    )
    shutil.copy(data / "I2CVB" / "Case00.nii.gz", root / "t2.nii.gz")
    for part, site in zip(TRAINED, ("RUNMC", "I2CVB"), strict=True):
        bundle = root / "bundles" / f"prostate_mri_{part}"
        teacher = {"network_def#features": FEATURES} if part == "unetplusplus" else {}
        change_bundle(bundle, {**SMALL, **teacher})
        train = ["monai.bundle", "run", "--config_file", "configs/train.json"]
        warm.run([*train, f"--dataset_dir={data}", f"--sites={[site]}"], bundle)
    return root


@pytest.fixture(scope="session")
def exported(trained, warm, tmp_path_factory) -> Path:
    """``trained``, with the student exported to ONNX."""
    root = tmp_path_factory.mktemp("exported") / "akd_monai"
    shutil.copytree(trained, root)
    warm.run(["akd_monai", "export", "bundles/prostate_mri_enet"], root)
    return root


@pytest.fixture(scope="session")
def scanned(exported, tmp_path_factory) -> Path:
    """``exported``, with DICOM series: one in ``scan``, two in ``study``, two patients in ``patients``."""
    root = tmp_path_factory.mktemp("scanned") / "akd_monai"
    shutil.copytree(exported, root)
    volume = nib.load(root / "t2.nii.gz")
    pixels = np.asarray(volume.dataobj).clip(0).astype(np.uint16)
    write_series(root / "scan", pixels)
    for number in (3, 5):
        write_series(root / "study", pixels, study="2.25.1", prefix=f"{number}-", SeriesNumber=number)
    for patient in ("a", "b"):
        write_series(root / "patients" / patient, pixels)
    return root


@pytest.fixture
def reader(request, tmp_path) -> Path:
    """A copy of the fixture that the test names, which a page may change."""
    folder = tmp_path / "akd_monai"
    if request.param is not None:
        shutil.copytree(request.getfixturevalue(request.param), folder)
    else:
        folder.mkdir()
    return folder
