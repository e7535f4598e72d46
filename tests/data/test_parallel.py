# SPDX-License-Identifier: Apache-2.0
"""Many items in several processes: each has its result, and a crash costs one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from akd_monai.data.parallel import check_workers, for_each
from akd_monai.errors import InputError


def run(function, items, workers=2):
    return list(for_each(function, items, workers=workers, progress=False, title="items"))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_item_has_its_result(workers):
    found = run(abs, [-3, -1, 2, -2, 5], workers)
    assert sorted(found) == [(-3, 3), (-2, 2), (-1, 1), (2, 2), (5, 5)]


def test_few_items_stay_in_this_process():
    assert {result for _, result in run(eval, ["__import__('os').getpid()"] * 2)} == {os.getpid()}
    assert os.getpid() not in {result for _, result in run(eval, ["__import__('os').getpid()"] * 3)}
    assert run(abs, []) == []


@pytest.mark.fault(
    "Disk, memory and processes",
    "a reader kills its process",
    injected="SIGKILL in a worker process",
    outcome="costs one item, the others are done",
)
def test_one_crash_costs_one_item():
    kill = f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGKILL)})"
    found = run(eval, ["1 + 1", kill, "2 + 2", "3 + 3"])
    assert sorted(found, key=str) == sorted([("1 + 1", 2), (kill, None), ("2 + 2", 4), ("3 + 3", 6)], key=str)


@pytest.mark.parametrize("workers", [1, 2])
def test_isolated_items_never_stay_in_this_process(workers):
    kill = f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGSEGV)})"
    items = [kill, "1 + 1"]
    found = dict(for_each(eval, items, workers=workers, progress=False, title="items", isolated=True))
    assert found == {kill: None, "1 + 1": 2}
    alone = dict(for_each(eval, [kill], workers=workers, progress=False, title="items", isolated=True))
    assert alone == {kill: None}
    assert list(for_each(eval, [], workers=workers, progress=False, title="items", isolated=True)) == []


@pytest.mark.fault(
    "Disk, memory and processes",
    "every worker process dies",
    injected="each item kills its process",
    outcome="gives up, names every item",
)
def test_when_nothing_works_it_gives_up_and_names_every_item():
    kill = f"__import__('os').kill(__import__('os').getpid(), {int(signal.SIGKILL)})"
    assert run(eval, [kill] * 6) == [(kill, None)] * 6


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_function_raises_is_raised_here(workers):
    with pytest.raises(ZeroDivisionError):
        run(eval, ["1", "1 / 0", "2"], workers)


@pytest.mark.parametrize("workers", ["two", -1, 1.5, True, None])
def test_what_is_no_number_of_processes(workers):
    with pytest.raises(InputError, match=r"workers must be an integer of at least 0, got "):
        check_workers(workers)
    with pytest.raises(InputError, match="workers must be"):
        run(abs, [1], workers)


def test_a_dying_process_costs_one_item():
    items = ["1 + 1", "__import__('os')._exit(3)", "2 + 2"]
    results = dict(for_each(eval, items, workers=2, progress=False, title="sums"))
    assert results == {"1 + 1": 2, "__import__('os')._exit(3)": None, "2 + 2": 4}


_KILLED = """
import sys
from akd_monai.files import FolderLock, atomic_write
from akd_monai.data.parallel import for_each
if __name__ == "__main__":
    # The pool says that all its processes run by handing back the first result.
    for item, result in for_each(eval, ["__import__('os').getpid()"] + ["__import__('time').sleep(60)"] * 3,
                                 workers=2, progress=False, title="naps"):
        print(result, flush=True)
"""


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.fault(
    "Disk, memory and processes",
    "a run with worker processes is killed",
    injected="SIGKILL to the parent",
    outcome="no process is left",
)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processes_of_a_killed_run_end_with_it(tmp_path):
    script = tmp_path / "naps.py"
    script.write_text(_KILLED)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert _runs(worker)
    assert worker != parent.pid
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _runs(worker):
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    pytest.fail("the worker process outlived its parent by 10 seconds")
