# SPDX-License-Identifier: Apache-2.0
"""Pages that run as they stand, block by block, in one shell; see ``page_runner`` for what a page may hold.

A page is a line of the table: where its reader stands, and what is shrunk. ``AKD_COLD=1`` takes the real interpreter for
every command, which costs its imports.
"""

from __future__ import annotations

import os

import pytest
from docs_tools import DOCS
from page_runner import run_page

# page: (fixture of the folder in which the reader stands, None for an empty one; variables of the page that are smaller)
PAGES: dict[str, tuple[str | None, dict[str, str]]] = {
    "how-to/compress.md": ("trained", {"STUDENTS": "enet", "EPOCHS": "1"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "reader", "variables"), [(name, *how) for name, how in PAGES.items()], indirect=["reader"], ids=list(PAGES)
)
def test_page_runs_as_it_stands(page, reader, variables, warm):
    cold = os.environ.get("AKD_COLD")
    run_page(DOCS / page, reader, variables=variables, path=None if cold else warm.bin)
