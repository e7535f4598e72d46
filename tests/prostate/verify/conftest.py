# SPDX-License-Identifier: Apache-2.0
"""The good set that tests of verify spoil."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The tests of a folder share one module of helpers, which pytest's import mode does not put on the path.
sys.path.insert(0, str(Path(__file__).parent))

from verify_tools import CASES, save, scan


@pytest.fixture(scope="session")
def good_set(tmp_path_factory):
    """Files of three good cases, as bytes by name."""
    folder = tmp_path_factory.mktemp("good")
    for seed, case in enumerate(CASES):
        image, mask = scan(seed)
        save(folder / f"{case}.nii.gz", image)
        save(folder / f"{case}_segmentation.nii.gz", mask)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.nii.gz")}


@pytest.fixture
def folder(tmp_path, good_set):
    for name, data in good_set.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return tmp_path / "set"
