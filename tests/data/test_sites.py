# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest

from akd_monai.data import SITES, site
from akd_monai.errors import UnknownNameError


def test_order_and_counts_of_the_published_table():
    assert [(s.code, s.name, s.cases) for s in SITES] == [
        ("S1", "RUNMC", 30),
        ("S2", "BMC", 30),
        ("S3", "I2CVB", 19),
        ("S4", "UCL", 13),
        ("S5", "BIDMC", 12),
        ("S6", "HK", 12),
    ]
    assert sum(s.cases for s in SITES) == 116
    assert [s.name for s in SITES if s.coil == "endorectal"] == ["BMC", "BIDMC", "HK"]


@pytest.mark.parametrize("text", ["S5", "s5", "bidmc", " BIDMC "])
def test_lookup_by_code_or_name(text):
    assert site(text).name == "BIDMC"


def test_unknown_site_names_the_known_and_a_near_match():
    with pytest.raises(UnknownNameError, match=r"unknown site 'BIDMD'; known are S1 RUNMC, .*S6 HK\..*'BIDMC'"):
        site("BIDMD")


def test_importing_the_package_loads_neither_torch_nor_monai():
    code = "import sys, akd_monai.data as d; d.site('HK'); sys.exit(any(m in sys.modules for m in ('torch', 'monai')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_name_datalist_is_the_function_whatever_was_imported_before():
    import akd_monai.data
    import akd_monai.data.cases
    import akd_monai.data.splits

    assert callable(akd_monai.data.datalist)
    with pytest.raises(AttributeError, match="no attribute 'datalists'"):
        _ = akd_monai.data.datalists
