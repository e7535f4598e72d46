# SPDX-License-Identifier: Apache-2.0
"""A process of the run is killed: the others end at once with one line, and the run is resumed as if nothing happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import IterationEvents
from torch.nn.parallel import DistributedDataParallel
from toy_run import build

from akd_monai.errors import InputError, lost_process

LOST = "another process of this training is gone"
SECONDS = 60


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            r"process 7 that loads data .* by signal: Killed\)",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", r"process 7, 8 that loads data .*without a message"),
        ("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4", LOST + r" \(connection closed"),
        ("ncclRemoteError: A call failed possibly due to a network error or a remote process exited", LOST),
    ],
)
def test_what_pytorch_says_of_a_lost_process_is_one_line(message, words):
    with pytest.raises(InputError, match=words):
        raise lost_process(RuntimeError(message))


def test_the_reason_may_be_wrapped_or_have_a_reason_of_its_own():
    lost = RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")
    # PyTorch waited for a batch in vain
    lost.__cause__ = TimeoutError()
    outer = TypeError("unable to sync buffer contents")
    outer.__cause__ = lost
    assert "process 7 that loads data" in str(lost_process(outer))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), ConnectionResetError("Connection reset by peer"), ValueError("broken pipe")],
)
def test_other_errors_are_no_lost_process(error):
    assert lost_process(error) is None


@pytest.mark.fault(
    "Stopped runs",
    "a loader worker is killed",
    injected="SIGKILL to a worker process",
    outcome="one line with the remedy; resumed bit-identically",
)
@pytest.mark.fault(
    "Disk, memory and processes",
    "a worker process of the data loader dies",
    injected="SIGKILL",
    outcome="one line with what to lower; resumed bit for bit",
)
def test_a_killed_loader_worker_is_one_line_and_the_run_resumes_bit_for_bit(tmp_path):
    def kill(engine):
        (worker,) = engine._dataloader_iter._workers
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()

    build(tmp_path / "undisturbed", epochs=2).run()
    trainer = build(tmp_path / "killed", epochs=2, workers=1, interval=1)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=7), kill)
    with pytest.raises(InputError, match=r"the worker process .* that loads data is gone .*num_workers"):
        trainer.run()
    assert torch.load(tmp_path / "killed" / "resume.pt", weights_only=True)["iteration"] in (7, 8, 9)
    resumed = build(tmp_path / "killed", epochs=2, workers=0, interval=1)
    resumed.run()
    assert same_state(tmp_path / "killed", tmp_path / "undisturbed")


def same_state(one: Path, other: Path) -> bool:
    """Return whether two runs ended with the same weights."""
    states = [torch.load(folder / "resume.pt", weights_only=True)["parts"]["network"] for folder in (one, other)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def work(rank: int, folder: Path, meeting: str, victim: int, event: str) -> None:
    """Train in two processes; ``victim`` is killed in its fourth step, or at the end of its second validation."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", init_method=f"file://{folder.parent}/{meeting}", rank=rank, world_size=2)
    trainer = build(folder, epochs=3, interval=1)
    trainer.network = DistributedDataParallel(trainer.network)

    seen = []

    def die(engine):
        seen.append(engine)
        if rank == victim and (engine.state.iteration == 4 if event == "step" else len(seen) == 4):
            os.kill(os.getpid(), signal.SIGKILL)

    if event == "step":
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, die)
    else:
        trainer.evaluator.add_event_handler(Events.ITERATION_COMPLETED, die)
    trainer.run()
    dist.destroy_process_group()


def forked(*arguments) -> int:
    """Start a rank in a fork, since imports take longer than all its steps, and return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work(*arguments)
        code = 0
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        code = 2
    finally:
        sys.stderr.flush()
        os._exit(code)


def pair(*arguments) -> list[int]:
    """Run both ranks and return their exit codes; -15 for one that did not end in time."""
    children = [forked(rank, *arguments) for rank in (0, 1)]
    codes: dict[int, int] = {}
    give_up = time.monotonic() + SECONDS
    while len(codes) < 2:
        for child in children:
            done, status = os.waitpid(child, os.WNOHANG) if child not in codes else (0, 0)
            if done:
                codes[child] = os.waitstatus_to_exitcode(status)
            elif child not in codes and time.monotonic() > give_up:
                os.kill(child, signal.SIGTERM)
        time.sleep(0.02)
    return [codes[child] for child in children]


def main(folder: Path) -> dict:
    """Lose each rank once, in a step and in validation, and resume."""
    found = {}
    pair(folder / "undisturbed", "meeting", -1, "step")
    for number, (victim, event) in enumerate([(0, "step"), (1, "step"), (0, "validation"), (1, "validation")]):
        run = folder / f"run{number}"
        codes = pair(run, f"lost{number}", victim, event)
        again = pair(run, f"again{number}", -1, event)
        equal = same_state(run, folder / "undisturbed")
        found[f"{victim} {event}"] = {"codes": codes, "again": again, "equal": equal}
    return found


@pytest.mark.fault(
    "Stopped runs",
    "one of two ranks is killed",
    injected="SIGKILL to one process of a group",
    outcome="the other ends with one line; resumed bit-identically",
)
@pytest.mark.fault(
    "Disk, memory and processes",
    "one of two training processes dies",
    injected="SIGKILL in a step and in validation, each rank once",
    outcome="the other ends at once in one line, exit code 2; resumed bit for bit",
)
@pytest.mark.skipif(not dist.is_gloo_available() or os.name == "nt", reason="needs gloo and fork")
def test_a_killed_rank_ends_the_other_with_one_line_and_the_run_resumes_bit_for_bit(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 4
    for name, about in found.items():
        victim = int(name[0])
        assert about["codes"][victim] == -signal.SIGKILL, name
        assert about["codes"][1 - victim] == 2, f"{name}: {done.stderr[-2000:]}"
        assert about["again"] == [0, 0], name
        assert about["equal"], name
    lines = [line for line in done.stderr.splitlines() if line.startswith(LOST)]
    assert len(lines) == 4
    assert "Traceback" not in done.stderr


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
