# SPDX-License-Identifier: Apache-2.0
"""A cell that is forked from the warm process is, to all effects, the printed line."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fake_cells
import pytest

from akd_monai.experiments import _warm
from akd_monai.experiments._cell_process import CellError, Devices, StoppedError, run_cell
from akd_monai.experiments._child import start_plain
from akd_monai.experiments._warm import warm_process
from akd_monai.experiments._warm_server import refusal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks cells")
THREADS = {"OMP_NUM_THREADS": "1"}

SHOW = """
import atexit, json, os, signal, sys
atexit.register(print, "at the end")
print(json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "path": sys.path[0], "name": __name__, "file": __file__,
    "main": sys.modules["__main__"].__dict__ is globals(), "stdin": sys.stdin.read(), "leader": os.getpgrp() == os.getpid(),
    "variables": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "MLFLOW_RUN_ID")},
    "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))[:4],
    "handlers": [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD)],
}))
print("to the other stream", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    with warm_process(tmp_path_factory.mktemp("warm"), THREADS, ("json", "numpy.random")) as process:
        assert process.refusal() == ""
        yield process


def ran(start, folder, command, **variables):
    """Run a command by one of the two ways; return how it ended and its log."""
    log = folder / "log.txt"
    with open(log, "wb") as stream:
        ended = start(command, str(folder), stream, {**THREADS, **variables}, []).wait()
    return ended, log.read_text()


def both(warm, folder, command, **variables):
    plain, by_line = ran(start_plain, folder, command, **variables)
    forked, by_fork = ran(warm.start, folder, command, **variables)
    assert plain.code == forked.code
    return plain.code, by_line, by_fork


@pytest.mark.parametrize("kind", ["module", "script"])
def test_a_fork_sees_what_the_printed_line_sees(warm, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("MLFLOW_RUN_ID", "of another run")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__main__.py").write_text(SHOW)
    command = ["-m", "toy"] if kind == "module" else [str(tmp_path / "toy" / "__main__.py")]
    code, by_line, by_fork = both(warm, tmp_path, [*command, "--a=['b']", "c"], CUDA_VISIBLE_DEVICES="1,3")
    assert code == 0
    assert by_fork == by_line
    shown = json.loads(next(line for line in by_line.splitlines() if line.startswith("{")))
    assert shown["argv"][1:] == ["--a=['b']", "c"]
    assert shown["variables"] == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1,3", "MLFLOW_RUN_ID": None}
    assert by_line.count("at the end") == 1


ENDINGS = {
    "exit code": ("import sys; print('half'); sys.exit(3)", 3),
    "error": ("raise ValueError('a bug')", 1),
    "killed": ("import os; os.kill(os.getpid(), 9)", -9),
    "terminated": ("import os; os.kill(os.getpid(), 15)", -15),
}


@pytest.mark.parametrize(("code", "expected"), ENDINGS.values(), ids=ENDINGS)
def test_a_fork_ends_as_the_printed_line_ends(warm, tmp_path, code, expected):
    (tmp_path / "cell.py").write_text(code)
    found, by_line, by_fork = both(warm, tmp_path, ["cell.py"])
    assert found == expected
    assert by_fork.splitlines()[-1:] == by_line.splitlines()[-1:]


# stands for MONAI's: the warm process of these tests has not imported it
BUNDLES = {
    "mistake": (
        "from akd_monai.errors import InputError\nraise InputError('no data', where='here')",
        2,
        "here: no data",
    ),
    "SIGTERM": ("import akd_monai, os, signal\nos.kill(os.getpid(), signal.SIGTERM)", 143, "stopped by SIGTERM."),
}


@pytest.mark.parametrize(("code", "expected", "last"), BUNDLES.values(), ids=BUNDLES)
def test_a_bundle_has_the_same_last_line(warm, tmp_path, code, expected, last):
    (tmp_path / "monai" / "bundle").mkdir(parents=True)
    for name in ("monai/__init__.py", "monai/bundle/__init__.py"):
        (tmp_path / name).touch()
    (tmp_path / "monai" / "bundle" / "__main__.py").write_text(code)
    found, by_line, by_fork = both(warm, tmp_path, ["-m", "monai.bundle", "run"])
    assert found == expected
    assert by_fork == by_line
    assert by_line.strip() == f"akd_monai: {last}"


def test_forks_do_not_share_random_numbers(warm, tmp_path):
    (tmp_path / "cell.py").write_text("import random, numpy; print(random.random(), numpy.random.random())")
    numbers = {number for _ in range(2) for number in ran(warm.start, tmp_path, ["cell.py"])[1].split()}
    assert len(numbers) == 4


def test_what_a_fork_has_used_is_known(warm, tmp_path):
    work = "import time; block = bytearray(300 << 20)\nwhile time.process_time() < 0.5: pass"
    (tmp_path / "cell.py").write_text(work)
    for start in (start_plain, warm.start):
        ended, _ = ran(start, tmp_path, ["cell.py"])
        assert 0.4 < ended.cpu_seconds < 5
        assert ended.peak_memory_bytes > 300 << 20
    # of a plain command the system counts the process that started it, too, which is that of the tests here
    assert ended.peak_memory_bytes < 900 << 20


def test_what_cannot_be_forked_is_refused(warm):
    assert warm.takes(["-m", "monai.bundle", "run"], {**THREADS, "CUDA_VISIBLE_DEVICES": "0"})
    assert not warm.takes(["-m", "monai.bundle", "run"], {"OMP_NUM_THREADS": "2"})
    assert not warm.takes(["-m", "torch.distributed.run"], THREADS)
    assert not warm.takes(["-c", "pass"], THREADS)


def test_a_process_with_threads_is_not_forked(tmp_path, caplog):
    (tmp_path / "devices").mkdir()
    start = "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    (tmp_path / "devices" / "pool.py").write_text(f"import threading, time\n{start}")
    with caplog.at_level("INFO"), warm_process(tmp_path, THREADS, ("pool",)) as process:
        assert not process.takes(["cell.py"], THREADS)
    assert "Each cell imports everything by itself: importing them starts other threads, 1 here" in caplog.text


def test_a_process_that_has_opened_a_gpu_is_not_forked(monkeypatch):
    server = sys.modules[refusal.__module__]
    monkeypatch.setattr(server, "_opened", lambda: ["/dev/null", "/dev/nvidiactl"])
    monkeypatch.setattr(server, "_threads", lambda: ["jemalloc_bg_thd"])
    assert refusal() == "importing them opens /dev/nvidiactl"
    monkeypatch.setattr(server, "_opened", lambda: ["/dev/null"])
    assert refusal() == ""


def test_imports_that_fail_leave_each_cell_to_itself(tmp_path, caplog):
    with caplog.at_level("INFO"), warm_process(tmp_path, THREADS, ("no_such_module",)) as process:
        devices = Devices(tmp_path, warm=process)
        run_cell(fake_cells.make(tmp_path, "t1", 0.0), devices)
    assert "No module named 'no_such_module'" in (tmp_path / "devices" / "warm.txt").read_text()
    assert "its process has ended while it imported" in caplog.text
    assert json.loads((tmp_path / "t1" / "result.json").read_text())["cell"] == "t1"


def started(folder, count=1):
    path = folder / "events.jsonl"
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [entry for entry in map(json.loads, lines) if entry["event"] == "start"]
        if len(entries) >= count:
            return entries
        time.sleep(0.02)
    raise AssertionError("no cell has started")


@pytest.mark.fault(
    "Experiments",
    "the process that forks cells is killed",
    injected="SIGKILL while a cell runs",
    outcome="its cell ends with it, and is started again by an interpreter of its own; never two at one place",
)
def test_a_cell_is_run_again_when_the_warm_process_is_killed(tmp_path):
    with warm_process(tmp_path, THREADS, ("json",)) as process:
        devices = Devices(tmp_path, ["0"], warm=process)
        thread = threading.Thread(target=run_cell, args=(fake_cells.make(tmp_path, "t1", 1.0), devices))
        thread.start()
        first = started(tmp_path)[0]
        process._process.kill()
        second = started(tmp_path, 2)[1]
        thread.join()
    assert first["pid"] != second["pid"]
    events = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events == ["start", "start", "end"]


@pytest.mark.fault(
    "Experiments",
    "a cell is killed",
    injected="SIGKILL, as by a system that is out of memory",
    outcome="the cell fails, naming the signal; the others run",
)
def test_a_cell_that_is_killed_fails_and_the_next_one_runs(tmp_path):
    with warm_process(tmp_path, THREADS, ("json",)) as process:
        devices = Devices(tmp_path, warm=process)
        killer = threading.Thread(target=lambda: os.kill(started(tmp_path)[0]["pid"], signal.SIGKILL))
        killer.start()
        with pytest.raises(CellError, match="t1 ended with signal SIGKILL; see"):
            run_cell(fake_cells.make(tmp_path, "t1", 30.0), devices)
        killer.join()
        run_cell(fake_cells.make(tmp_path, "t2", 0.0), devices)
        assert process._process.poll() is None


def test_stopping_waits_for_no_import(tmp_path):
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "slow.py").write_text("import time; time.sleep(600)")
    cell = fake_cells.make(tmp_path, "t1", 0.0)
    with warm_process(tmp_path, THREADS, ("slow",)) as process:
        devices = Devices(tmp_path, warm=process)
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(run_cell, cell, devices)
            time.sleep(0.2)
            devices.stop()
            assert isinstance(future.exception(timeout=30), StoppedError)
    assert not (tmp_path / "events.jsonl").exists()


def test_other_systems_have_no_warm_process(tmp_path, monkeypatch):
    monkeypatch.setattr(_warm.sys, "platform", "darwin")
    with warm_process(tmp_path, THREADS) as process:
        assert process is None
