# SPDX-License-Identifier: Apache-2.0
"""How many reversed masks does verify notice? SYNTHETIC cases, with their masks as they are and turned over.

    python -m benchmarks.upside_down
    python -m benchmarks.upside_down --cases_per_site 3 --size 64

Counts single cases with at least five slices of gland, and sites; prints one line for each way of turning.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from akd_monai.data import read_cases
from akd_monai.data.nifti import read_nifti, write_nifti
from akd_monai.prostate import make_phantom, verify_dataset

# Axis of the mask that is reversed: files run to the left, to the back and upwards.
TURNS = {"as they are": None, "front to back": 1, "upside down": 2}
LEAST_SLICES = 5


def reverse_masks(folder: Path, axis: int) -> None:
    """Reverse all masks of a folder along an array axis."""
    for case in read_cases(folder):
        mask = read_nifti(Path(case["label"]))
        write_nifti(Path(case["label"]), np.flip(mask.array(), axis), np.asarray(mask.image.affine, dtype=float))


def count(folder: Path, workers: int) -> str:
    """Return what verify notices in a folder."""
    report = verify_dataset(folder, workers=workers, progress=False)
    large = {case["case"] for case in report.cases if case["gland_slices"] >= LEAST_SLICES}
    cases = {finding.case for finding in report.findings if finding.code == "upside-down"}
    sites = {finding.case for finding in report.findings if finding.code == "site-upside-down"}
    return f"{len(cases & large)} of {len(large)} cases, {len(sites)} sites"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the set, turn its masks, count, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases_per_site", type=int, help="cases a site; by default as many as the real sites have")
    parser.add_argument("--size", type=int, default=128, help="pixels of a slice")
    parser.add_argument("--slices", type=int, default=10, help="slices of a case")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random number")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)
    for words, axis in TURNS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = make_phantom(
                name, cases_per_site=given.cases_per_site, size=given.size, slices=given.slices, seed=given.seed,
                workers=given.workers, progress=False,
            )  # fmt: skip
            if axis is not None:
                reverse_masks(folder, axis)
            print(f"{words}: noticed in {count(folder, given.workers)}", flush=True)


if __name__ == "__main__":
    main()
