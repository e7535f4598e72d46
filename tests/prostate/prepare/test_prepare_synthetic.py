# SPDX-License-Identifier: Apache-2.0
"""A synthetic set stays one when it is prepared as if it were raw scans."""

from __future__ import annotations

import numpy as np
import pytest

from akd_monai.data.manifest import is_synthetic
from akd_monai.data.nifti import write_nifti
from akd_monai.errors import InputError
from akd_monai.prostate import make_phantom, prepare_dataset


@pytest.fixture
def scans(tmp_path):
    return make_phantom(tmp_path / "scans", cases_per_site=1, sites="HK", size=32, slices=4, progress=False)


def real_scan(folder):
    values = np.random.default_rng(0).integers(0, 500, (32, 32, 4)).astype(np.int16)
    write_nifti(folder / "t2.nii.gz", values, np.diag([1.0, 1.0, 3.0, 1.0]))
    return folder


def test_the_mark_is_kept_and_the_call_can_be_repeated(scans, tmp_path):
    done = [prepare_dataset("six-site", scans, tmp_path / "out", workers=0, progress=False) for _ in range(2)]
    assert [len(result.done) for result in done] == [1, 0]
    assert is_synthetic(tmp_path / "out")
    assert not is_synthetic(tmp_path)


@pytest.mark.fault(
    "Preparing and verifying data",
    "synthetic and real cases in one prepared folder",
    injected="a synthetic set prepared into a folder of real cases, and the other way round",
    outcome="refused, named; nothing is added",
)
def test_real_and_synthetic_cases_are_not_mixed(scans, tmp_path):
    real = real_scan(tmp_path / "real")
    prepare_dataset("folder", real, tmp_path / "of_real", workers=0, progress=False)
    with pytest.raises(InputError, match="holds real cases, with which a synthetic set must not be mixed"):
        prepare_dataset("six-site", scans, tmp_path / "of_real", workers=0, progress=False)
    assert not is_synthetic(tmp_path / "of_real")
    prepare_dataset("six-site", scans, tmp_path / "of_scans", workers=0, progress=False)
    with pytest.raises(InputError, match="holds a synthetic set, with which real cases must not be mixed"):
        prepare_dataset("folder", real, tmp_path / "of_scans", workers=0, progress=False)
