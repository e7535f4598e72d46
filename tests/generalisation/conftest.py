# SPDX-License-Identifier: Apache-2.0
"""Synthetic sites for the tests of this folder, and the record of opened files of the experiments' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bundle_tools import SIZE

from akd_monai.prostate import make_phantom

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE))
sys.path.insert(0, str(_HERE.parent / "experiments"))


@pytest.fixture(scope="session")
def six(tmp_path_factory) -> Path:
    """Synthetic cases of three sites, of which the last one is left out."""
    folder = tmp_path_factory.mktemp("six") / "phantom"
    sites = ["RUNMC", "BMC", "HK"]
    return make_phantom(folder, cases_per_site=3, sites=sites, size=SIZE, slices=4, seed=0, progress=False)
