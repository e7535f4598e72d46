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


@pytest.mark.parametrize("name", ["BIDMD", "bidmd"])
def test_unknown_site_names_the_known_and_a_near_match(name):
    message = rf"unknown site '{name}'\. Did you mean 'BIDMC', 'BMC'\? Known: S1, RUNMC, S2, .*S6, HK\."
    with pytest.raises(UnknownNameError, match=message):
        site(name)


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


def test_every_public_name_is_found_where_the_lazy_table_says():
    import akd_monai.data as data

    assert sorted(data.__all__) == sorted(data._HOMES)
    assert set(data.__all__) <= set(dir(data))
    for name in data.__all__:
        found = getattr(data, name)
        assert getattr(found, "__module__", f"akd_monai.data.{data._HOMES[name]}").endswith(data._HOMES[name])
