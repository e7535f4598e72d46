# SPDX-License-Identifier: Apache-2.0
"""What the paper's networks cost at full width: steps, memory, feeding and evaluation, by the bundles as they are.

    python -m benchmarks.full_width --dataset_dir phantom --device cuda --seconds 200 --output full_width.json
    python -m benchmarks.hours full_width.json table2 table4

A step is one iteration of the trainer on 16 slices of 384 x 384 (forward, losses, backward, Adam), by automatic mixed
precision on CUDA and with deterministic algorithms, as the bundles train: each network alone, and each student with the
three terms from each teacher, which is run on every batch (``online``) or read from a filled cache (``cached``). Weights
are random and slices synthetic; the teachers are made to decide on regions as trained ones do. Each step is timed by
itself around synchronised calls, after a warm-up; the median counts. Memory is the most that PyTorch's allocator held.

Feeding and evaluation read the volumes of ``--dataset_dir`` by the configs of the bundles; ``python -m akd_monai phantom``
writes synthetic ones.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism

from benchmarks.common import machine_facts
from benchmarks.losses import STUDENTS
from benchmarks.step import TEACHERS, TrainerStep, decided, make_batches
from benchmarks.volumes import evaluation_seconds, feeding_seconds

WARM_UP = 4
MOST_STEPS = 30
# shares of the time: steps; the rest is for feeding and evaluation
FOR_STEPS = 0.7

Work = Callable[[], object]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_width", description="Measure at full width.")
    parser.add_argument("--dataset_dir", type=Path, help="prepared cases; without it only steps are measured")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--seconds", type=float, default=200.0, help="after which no measurement is begun")
    parser.add_argument("--size", type=int, default=384, help="pixels along each side of a slice")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=8, help="processes that feed a training")
    parser.add_argument("--output", type=Path, default=Path("full_width.json"))
    found = parser.parse_args(argv)
    if found.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU here; use --device cpu, with a small --size and --batch.")
    if found.dataset_dir is not None and not found.dataset_dir.is_dir():
        parser.error(f"--dataset_dir: there is no folder {str(found.dataset_dir)!r}.")
    return found


def timed(work: Work, device: str) -> float:
    """Return the seconds of one call, on CUDA until its kernels have ended."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(make: Callable[[], Work], device: str, until: float) -> dict[str, Any]:
    """Make a work, time its calls one by one, and return their median, range and number, and the peak memory.

    At least three calls are timed, and no more are begun after ``until``.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    work = make()
    for _ in range(WARM_UP):
        work()
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < MOST_STEPS and time.perf_counter() < until):
        seconds.append(timed(work, device))
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    milliseconds = [1e3 * one for one in seconds]
    return {
        "ms": round(statistics.median(milliseconds), 3),
        "low": round(min(milliseconds), 3),
        "high": round(max(milliseconds), 3),
        "steps": len(seconds),
        "peak_bytes": peak,
    }


def steps(asked: argparse.Namespace, cache: Path) -> Iterator[tuple[str, Callable[[], Work]]]:
    """Yield the name of each kind of step and what makes it: teachers, students, then each pair in two forms."""
    batches = make_batches(asked.batch, asked.size)
    amp = asked.device == "cuda"

    def plain(name: str) -> Callable[[], Work]:
        return lambda: TrainerStep(name, batches, asked.device, amp=amp)

    def taught(name: str, teacher: str, options: dict[str, Any]) -> Callable[[], Work]:
        def make() -> Work:
            kind, layer = TEACHERS[teacher]
            torch.manual_seed(0)
            network = decided(kind(spatial_dims=2, in_channels=1, out_channels=2)).to(asked.device).eval()
            return TrainerStep(name, batches, asked.device, (network, layer), options, amp)

        return make

    yield from ((name, plain(name)) for name in (*TEACHERS, *STUDENTS))
    for form, options in (("online", {}), ("cached", {"cache_dir": cache})):
        for teacher in TEACHERS:
            for name in STUDENTS:
                yield f"{name} from {teacher}, {form}", taught(name, teacher, options)


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Measure as much as the time allows, and write after each measurement what there is."""
    start = time.perf_counter()
    settings = {name: getattr(asked, name) for name in ("device", "size", "batch", "workers")}
    result: dict[str, Any] = {"machine": machine_facts(), **settings, "steps": {}, "feeding": {}, "evaluation": {}}
    # as the bundles do at their start
    set_determinism(seed=0)
    with tempfile.TemporaryDirectory(prefix="akd_full_width_") as folder:
        works = list(steps(asked, Path(folder) / "cache"))
        end = start + FOR_STEPS * asked.seconds
        for number, (name, make) in enumerate(works):
            now = time.perf_counter()
            if now > end:
                _skip(result, name)
                continue
            share = (end - now) / (len(works) - number)
            _add(result, "steps", name, partial(measure, make, asked.device, now + share), asked.output)
        if asked.dataset_dir is not None:
            _volumes(asked, result, Path(folder), start + asked.seconds)
    result["seconds"] = round(time.perf_counter() - start, 1)
    _write(result, asked.output)
    return result


def _volumes(asked: argparse.Namespace, result: dict[str, Any], folder: Path, end: float) -> None:
    """Measure what reads volumes: feeding a training, and evaluation by each network."""
    changed = {"dataset_dir": str(asked.dataset_dir.resolve()), "spatial_size": [asked.size, asked.size]}
    changed["device"] = asked.device
    for workers in sorted({0, asked.workers}):
        if time.perf_counter() > end:
            _skip(result, f"feeding by {workers} processes")
            continue
        given = {**changed, "batch_size": asked.batch, "num_workers": workers}
        _add(result, "feeding", str(workers), partial(feeding_seconds, folder / "feeding", given), asked.output)
    for name in (*STUDENTS, *TEACHERS):
        if time.perf_counter() > end:
            _skip(result, f"evaluation by {name}")
            continue
        _add(result, "evaluation", name, partial(evaluation_seconds, name, folder / name, changed), asked.output)


def _add(result: dict[str, Any], group: str, name: str, work: Callable[[], dict[str, Any]], output: Path) -> None:
    """Measure one thing; what does not run, for want of memory or otherwise, says why, and the others are measured."""
    try:
        found = work()
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    result[group][name] = found
    print(f"{group}: {name}: {json.dumps(found)}", flush=True)
    _write(result, output)


def _skip(result: dict[str, Any], name: str) -> None:
    result.setdefault("not_measured", []).append(name)
    print(f"not measured, the time is over: {name}", flush=True)


def _write(result: dict[str, Any], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    run(arguments(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
