# SPDX-License-Identifier: Apache-2.0
"""The engine with cells of a moment: order, places, failures, Ctrl-C, and kills of the experiment at random moments."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import fake_cells
import pytest

from akd_monai.errors import InputError
from akd_monai.experiments._cell_process import CellError, Devices, StoppedError, run_cell
from akd_monai.experiments._engine import _cost, run_cells
from akd_monai.experiments._progress import Progress
from akd_monai.experiments._warm import warm_process
from akd_monai.files import FolderLock

pytest.importorskip("parsl", reason="the engine of experiments is Parsl")
GPUS = ["0", "1"]
# of a cell that is killed
SECONDS = 0.4
NAMES = {*fake_cells.TEACHERS, *(f"{s}-{t}" for s in fake_cells.STUDENTS for t in fake_cells.TEACHERS)}


def events(folder):
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def counts(folder, event):
    return Counter(entry["cell"] for entry in events(folder) if entry["event"] == event)


def run_all(folder, cells, **options):
    ended = []
    options.setdefault("devices", Devices(folder, GPUS))
    errors = run_cells(cells, folder, lambda cell, outcome: ended.append((cell.name, outcome)), **options)
    return ended, errors


def test_every_cell_runs_once_after_its_needs_and_never_two_on_a_device(tmp_path):
    # more places than teachers, so that a student could start at once
    gpus = ["0", "1", "2", "3"]
    ended, errors = run_all(tmp_path, fake_cells.graph(tmp_path, 0.1), devices=Devices(tmp_path, gpus))
    assert errors == {}
    assert counts(tmp_path, "end") == dict.fromkeys(NAMES, 1)
    assert counts(tmp_path, "MISSING") == counts(tmp_path, "COLLISION") == {}
    assert {entry["device"] for entry in events(tmp_path)} <= set(gpus)
    assert sorted(name for name, _ in ended) == sorted(NAMES)
    assert all(outcome >= 0.1 for _, outcome in ended)


def test_a_failed_cell_stops_what_needs_it_and_nothing_else(tmp_path):
    (tmp_path / "fail-t1").touch()
    _, errors = run_all(tmp_path, fake_cells.graph(tmp_path, 0.0))
    assert set(errors) == {"t1", "enet-t1", "erfnet-t1", "espnet-t1"}
    assert isinstance(errors["t1"], CellError)
    assert str(errors["enet-t1"]).startswith("not run, for want of what it needs: t1 ended with exit code 1")
    assert str(errors["t1"]) == f"t1 ended with exit code 1 (this cell fails); see {tmp_path / 't1' / 'log.txt'}"
    assert "this cell fails" in (tmp_path / "t1" / "log.txt").read_text()
    assert set(counts(tmp_path, "end")) == {name for name in NAMES if name.endswith("t2")}


def test_a_cell_that_became_done_meanwhile_is_not_run(tmp_path):
    cell = fake_cells.make(tmp_path, "t1", 0.0)
    assert run_cell(cell, Devices(tmp_path)) > 0
    assert run_cell(cell, Devices(tmp_path)) == 0
    assert counts(tmp_path, "end") == {"t1": 1}


def test_the_engine_writes_the_result_of_a_command_that_writes_none(tmp_path):
    place = tmp_path / "plain"
    cell = fake_cells.Cell(
        "plain", "train", fake_cells.ROW, ("-c", "pass"), str(tmp_path), str(place), str(place / "result.json")
    )
    run_cell(cell, Devices(tmp_path))
    assert json.loads((place / "result.json").read_text())["cell"] == "plain"


def test_a_cell_of_another_command_is_refused_by_name(tmp_path):
    run_cell(fake_cells.make(tmp_path, "t1", 0.0), Devices(tmp_path))
    with pytest.raises(InputError, match=r"cell t1 was run with another 0\.0, 0\.1; delete '.*t1' to run it again"):
        run_cell(fake_cells.make(tmp_path, "t1", 0.1), Devices(tmp_path))


def test_a_damaged_result_is_refused(tmp_path):
    cell = fake_cells.make(tmp_path, "t1", 0.0)
    run_cell(cell, Devices(tmp_path))
    (tmp_path / "t1" / "result.json").write_text('{"cell": ')
    with pytest.raises(InputError, match=r"result\.json: is no valid JSON .*delete '.*t1'; the cell is then run again"):
        run_cell(cell, Devices(tmp_path))


def test_a_device_is_free_only_when_the_last_process_of_a_cell_has_ended(tmp_path):
    """A worker process that outlives its cell keeps the device, so that the next cell waits for it."""
    worker = "import time; time.sleep(1.5); open('worker-ended', 'w').close()"
    start = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {worker!r}], close_fds=False)"
    ask = "import pathlib; pathlib.Path('seen').write_text(str(pathlib.Path('worker-ended').exists()))"
    devices = Devices(tmp_path, ["0"])
    for name, code in (("first", start), ("second", ask)):
        place = tmp_path / name
        run_cell(
            fake_cells.Cell(
                name, "train", fake_cells.ROW, ("-c", code), str(tmp_path), str(place), str(place / "result.json")
            ),
            devices,
        )
    assert (tmp_path / "seen").read_text() == "True"


def test_after_a_stop_nothing_starts(tmp_path):
    devices = Devices(tmp_path)
    devices.stop()
    with pytest.raises(StoppedError):
        run_cell(fake_cells.make(tmp_path, "t1", 0.0), devices)
    assert events(tmp_path) == []


def test_the_time_left_is_that_of_cells_of_the_same_kind():
    cells = [
        fake_cells.Cell(f"{kind}{n}", kind, fake_cells.ROW, (), "", "", "")
        for kind in ("train", "test")
        for n in range(4)
    ]
    progress = Progress(cells, 2)
    assert progress.seconds_left() == 0
    assert progress.ended(cells[0], 100.0) == "[1/8] train0: done in 100 s, about 6 min left"
    # 3 x 100 s and 4 x 100 s, as nothing is known of tests, at 2 places
    assert progress.seconds_left() == 350
    progress.ended(cells[4], 10.0)
    assert progress.seconds_left() == (3 * 100 + 3 * 10) / 2
    assert progress.ended(cells[1], CellError("train1", 1, "log.txt")).startswith("[3/8] train1: FAILED, train1 ended")
    assert progress.seconds_left() == (2 * 100 + 3 * 10) / 2


def start_driver(folder, seconds):
    command = [sys.executable, fake_cells.__file__, "drive", str(folder), ",".join(GPUS), str(seconds)]
    with open(folder / "driver.txt", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_for(folder, count, process):
    """Wait until so many cells have started."""
    give_up = time.monotonic() + 120
    while sum(counts(folder, "start").values()) < count and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)


def wait_until_gone(pids):
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        left = [pid for pid in pids if os.path.exists(f"/proc/{pid}") and not is_zombie(pid)]
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"cells outlived the experiment: {left}")


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def drivers(tmp_path):
    """Start drivers as forks, of a process that has imported the engine."""
    modules = ("parsl", "parsl.config", "parsl.executors", "akd_monai.experiments._engine")
    with warm_process(tmp_path / "drivers", {}, modules) as warm:
        yield lambda folder, seconds: forked_driver(warm, folder, seconds)


def wait_for_event(folder, before):
    """Wait until a cell has done something, or there is none left to do anything."""
    give_up = time.monotonic() + 2
    while len(events(folder)) == before and time.monotonic() < give_up:
        time.sleep(0.02)


def forked_driver(warm, folder, seconds):
    command = [fake_cells.__file__, "drive", str(folder), ",".join(GPUS), str(seconds)]
    with open(folder / "driver.txt", "ab") as log:
        return warm.start(command, str(folder), log, {}, [])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.fault(
    "Experiments",
    "the experiment is killed",
    injected="SIGKILL at 20 random moments, with two cells at a time",
    outcome="no cell is finished twice or lost, never two on a device; results of an undisturbed run",
)
def test_20_kills_at_random_moments_repeat_nothing_and_lose_nothing(tmp_path, drivers):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert drivers(whole, SECONDS).wait().code == 0
    chance = random.Random(14)
    for kill in range(20):
        before = len(events(killed))
        driver = drivers(killed, SECONDS)
        # every fourth falls into the time before the first cell
        if kill % 4:
            wait_for_event(killed, before)
        time.sleep(chance.uniform(0.0, 1.2 * SECONDS))
        driver.send(signal.SIGKILL)
        driver.wait()
        wait_until_gone({entry["pid"] for entry in events(killed)})
    # other seconds are another command, and are refused for what is done
    assert drivers(killed, 0.0).wait().code != 0
    assert drivers(killed, SECONDS).wait().code == 0
    for name in NAMES:
        assert (killed / name / "result.json").read_text() == (whole / name / "result.json").read_text()
    assert max(counts(killed, "end").values()) == 1
    assert counts(killed, "MISSING") == counts(killed, "COLLISION") == {}
    assert sum(counts(killed, "start").values()) > 2 * len(NAMES), "hardly a kill has hit a running cell"


@pytest.mark.slow
def test_ctrl_c_lets_running_cells_save_and_starts_no_other(tmp_path):
    driver = start_driver(tmp_path, 30.0)
    wait_for(tmp_path, 2, driver)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=60) != 0
    assert counts(tmp_path, "stopped") == {"t1": 1, "t2": 1}
    assert set(counts(tmp_path, "start")) == {"t1", "t2"}
    assert counts(tmp_path, "end") == {}


def test_a_stopped_chain_of_waiting_cells_leaves_no_traceback(tmp_path, caplog):
    cells = [fake_cells.make(tmp_path, "c0", 0.1)]
    # long enough to be under way still when Parsl closes
    for place in range(1, 120):
        cells.append(fake_cells.make(tmp_path, f"c{place}", 0.1, (f"c{place - 1}",)))

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(cells, tmp_path, stop, devices=Devices(tmp_path, [], 2))
    # Parsl tells each cell that the one before it has failed, and does so by an error once it has been closed
    assert [record.getMessage() for record in caplog.records if record.name == "concurrent.futures"] == []


def test_a_second_experiment_in_the_folder_is_refused(tmp_path):
    with FolderLock(tmp_path):
        driver = start_driver(tmp_path, 0.0)
        assert driver.wait(timeout=120) != 0
    assert f"is in use by process {os.getpid()}" in (tmp_path / "driver.txt").read_text()
    assert events(tmp_path) == []


def test_a_lost_worker_is_tried_again_and_a_failed_command_is_not():
    assert 20 * _cost(RuntimeError("manager lost"), None) <= 20
    assert _cost(CellError("t1", 1, "log.txt"), None) > 20
