# SPDX-License-Identifier: Apache-2.0
"""Cells of experiments that have been run: a changed command would refuse their folders, and make other results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from akd_monai.experiments._plan.parts import cells_of, open_experiment

DIGESTS = {
    "help-small": "419b5bc69747a453",
    "table2-small": "019c412b309e5094",
    "table3-small": "62d0d386e438f5da",
    "table4-small": "78465855d32e2ac4",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_cells_are_those_with_which_results_were_made(name, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    # data and results may lie anywhere: commands name the data in full, and all else relative to themselves
    parts = cells_of(open_experiment(name, Path("/results"), Path("/data")).parts)
    identities = [cell.identity() for cells in parts for cell in cells]
    content = json.dumps(identities, sort_keys=True).encode()
    assert hashlib.sha256(content).hexdigest()[:16] == DIGESTS[name]
