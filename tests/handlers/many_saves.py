# SPDX-License-Identifier: Apache-2.0
"""Hours of checkpoint writes in minutes: ``python -m tests.handlers.many_saves --saves 3600``.

A small run saves ``resume.pt`` after every step, and a better model, its record and the history after every fifth, all by
the real handlers. After every 25 saves open files, threads, files in the folder, objects and memory are counted.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ignite.engine import Events
from toy_run import BATCH, SAMPLES, build

STEPS = SAMPLES // BATCH
EVERY = 5
FILES = [
    ".lock",
    ".model.pt.lock",
    "best.json",
    "history.jsonl",
    "model.pt",
    "resume-previous.pt",
    "resume.pt",
    "run_name.txt",
]


@dataclass(frozen=True)
class Count:
    """What a process held after a number of saves."""

    saves: int
    open_files: int
    threads: int
    files: tuple[str, ...]
    objects: int
    rss_kb: int


def counts(folder: Path, saves: int) -> list[Count]:
    """Train until ``saves`` files were written, and count after every 25."""
    found: list[Count] = []
    # each epoch is better than the one before, so that each writes the best model
    trainer = build(folder, epochs=-(-saves // STEPS), interval=1, score=lambda epoch: epoch / saves)

    def count(engine) -> None:
        gc.collect()
        found.append(
            Count(
                engine.state.iteration,
                len(os.listdir("/proc/self/fd")),
                threading.active_count(),
                tuple(sorted(os.listdir(folder))),
                len(gc.get_objects()),
                _rss_kb(),
            )
        )

    # counting objects takes longer than saving
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=EVERY), count)
    trainer.run()
    return found


def _rss_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def slope(found: list[Count], name: str) -> float:
    """Return by how much something grows with each save, by least squares over the last three quarters of the run."""
    late = found[len(found) // 4 :]
    return float(np.polyfit([c.saves for c in late], [getattr(c, name) for c in late], 1)[0])


def report(found: list[Count], seconds: float) -> Iterator[str]:
    """Yield lines of the result."""
    first, last = found[len(found) // 4], found[-1]
    yield f"{last.saves} saves in {seconds:.0f} s, counted from save {first.saves} on"
    for name in ("open_files", "threads", "objects", "rss_kb"):
        yield f"{name}: {getattr(first, name)} to {getattr(last, name)}, {slope(found, name):+.4f} a save"
    yield f"files: {json.dumps(last.files)}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.handlers.many_saves", description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=3600)
    asked = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = counts(Path(folder), asked.saves)
    sys.stdout.write("\n".join(report(found, time.monotonic() - start)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
