# SPDX-License-Identifier: Apache-2.0
"""The page on compression runs as it stands, with one student and one epoch."""

from __future__ import annotations

import pytest
from docs_tools import DOCS
from page_runner import run_page

# cells of seconds, four of which export a network
SECONDS = 1500


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("reader", ["trained"], indirect=True)
def test_the_page_of_compress_runs_as_it_stands(reader, warm):
    variables = {"STUDENTS": "enet", "EPOCHS": "1"}
    (printed,) = run_page(DOCS / "how-to" / "compress.md", reader, variables=variables, path=warm.bin, timeout=SECONDS)
    # teacher: test, export; student: sources, three ways to learn with three cells each; the measurement
    assert f"of {2 + 1 + 3 * 3 + 1} cells were done before" in printed
    assert "Light tool: " in printed
    assert (reader / "compressed" / "report" / "index.html").is_file()
