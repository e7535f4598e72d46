# SPDX-License-Identifier: Apache-2.0
"""The citation file names this version and the paper."""

from __future__ import annotations

from pathlib import Path

import yaml

import akd_monai

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_is_of_this_version_and_of_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == akd_monai.__version__
    assert cited["license"] == "Apache-2.0"
    assert cited["preferred-citation"]["url"].endswith("2404.02738")
    assert len(cited["preferred-citation"]["authors"]) == 4
