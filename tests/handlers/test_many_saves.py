# SPDX-License-Identifier: Apache-2.0
"""Many checkpoint writes leave nothing behind but the files that they should."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from handlers.many_saves import FILES, counts, slope


@pytest.mark.fault(
    "Disk, memory and processes",
    "hours of checkpoint writes",
    injected="200 saves (a command: 3600)",
    outcome="no leak of files, handles, threads or objects",
)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_200_saves_leak_no_file_no_handle_no_thread_and_no_object(tmp_path):
    # a process of its own: what other tests have left in this one is collected meanwhile
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(counts, (tmp_path, 200))
    assert [count.saves for count in found] == [*range(25, 201, 25)]
    for name in ("open_files", "threads", "files"):
        assert len({getattr(count, name) for count in found[1:]}) == 1, name
    assert list(found[-1].files) == FILES
    # a leaked object a save would be 1
    assert abs(slope(found, "objects")) < 0.5
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 40
    best = json.loads((tmp_path / "best.json").read_text())
    assert (best["epoch"], best["metric"]) == (40, 0.2)
