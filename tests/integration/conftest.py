# SPDX-License-Identifier: Apache-2.0
"""Two small synthetic sites and a teacher."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from bundle_tools import FEATURES, SIZE, run_bundle, small_bundle
from warm_python import WarmPython

from akd_monai.bundle import load_network
from akd_monai.networks.nets import UNetPlusPlus
from akd_monai.prostate import make_phantom


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """Synthetic cases of two sites."""
    return make_phantom(
        tmp_path_factory.mktemp("data") / "phantom",
        cases_per_site=4,
        sites=["RUNMC", "I2CVB"],
        size=SIZE,
        slices=4,
        seed=0,
        progress=False,
    )


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """A teacher bundle with weights that were drawn, not trained: the tests ask for equality, not for quality."""
    root = small_bundle("unetplusplus", tmp_path_factory.mktemp("bundles") / "teacher")
    torch.manual_seed(3)
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), root / "models" / "model.pt")
    load_network(root)
    return root


@pytest.fixture(scope="session")
def run_warm() -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """``run_bundle`` by an interpreter that has imported everything, where a test is not about the start of a command."""
    with WarmPython() as warm:
        yield functools.partial(run_bundle, python=warm.bin / "python")
