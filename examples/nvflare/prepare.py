# SPDX-License-Identifier: Apache-2.0
"""Make the folders of two hospitals with synthetic data and small bundles: ``python prepare.py [FOLDER]``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle import write_bundles
from akd_monai.prostate import make_phantom

__all__ = ["prepare"]

TEACHER = "prostate_mri_unetplusplus"
STUDENT = "prostate_mri_enet"
# what each hospital has: sites of the phantom, and bundles; the teacher's bundle is public, its weights are not there
HOSPITALS: Mapping[str, tuple[list[str], list[str]]] = {
    "hospital-A": (["RUNMC", "BMC"], [TEACHER]),
    "hospital-B": (["I2CVB"], [TEACHER, STUDENT]),
}


def prepare(
    folder: Path, *, cases: int = 4, size: int = 64, epochs: int = 10, features: tuple[int, ...] = (8, 16, 16, 32, 32)
) -> None:
    """Write ``hospital-A`` and ``hospital-B`` into a folder.

    Args:
        folder: where they are made.
        cases: synthetic cases of each site, at least 4: a student's folds need them.
        size: side of the slices in pixels; 64 and few features train in a minute.
        epochs: of both trainings.
        features: of the teacher's stages, the same for both hospitals, or the weights would not fit.
    """
    small: dict[str, Any] = {"spatial_size": [size, size], "epochs": epochs, "batch_size": 4, "samples_per_epoch": 32}
    for hospital, (sites, names) in HOSPITALS.items():
        make_phantom(folder / hospital / "data", sites=sites, cases_per_site=cases, size=size, slices=8)
        for name in names:
            own = {"network_def#features": list(features)} if name == TEACHER else {}
            write_bundles(folder / hospital, name=name, **small, **own)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("two_hospitals"))
    prepare(parser.parse_args().folder)
