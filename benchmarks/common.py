# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks share: interleaved rounds on the process clock, peak memory, equality before timing, goals."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], object]
_SHORT = 0.05


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    Args:
        quick: small sizes and one round, to see that everything runs; its numbers mean nothing.
        device: ``"cpu"`` or ``"cuda"``.
        rounds: how often everything is measured; the median counts.
        public: folder of a clone of https://github.com/CoinCheung/pytorch-loss, or ``None``.
        compiled: also measure ``torch.compile``, whose first call of a shape takes up to minutes.
    """

    quick: bool = False
    device: str = "cpu"
    rounds: int = 5
    public: Path | None = None
    compiled: bool = False


def short(value: float, digits: int = 3) -> str:
    """Return a number with so many digits that count, the thousands in full.

    >>> short(10449.6), short(0.034567), short(7)
    ('10400', '0.0346', '7')
    """
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, least and most of the rounds, and what each round took."""

    median: float
    low: float
    high: float
    rounds: tuple[float, ...] = ()

    def text(self) -> str:
        """Return milliseconds with their range."""
        middle, low, high = (short(1e3 * seconds) for seconds in (self.median, self.low, self.high))
        return f"{middle} ({low} to {high})"


@dataclass(frozen=True)
class Goal:
    """A ratio that was set as a target, and what was measured.

    Args:
        what: the goal in words.
        limit: the number to reach.
        value: the number measured, ``None`` if it was not.
        at_most: whether smaller is better.
        floor: why it cannot be much better, or what is in the way; why it was not measured.
    """

    what: str
    limit: float
    value: float | None
    at_most: bool = False
    floor: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the measured number is as good as the limit, ``None`` if there is none."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass
class Result:
    """The table of one benchmark.

    Args:
        title: of the table.
        about: what was measured, in which unit, against what.
        columns: their heads.
        rows: texts, one for each column.
        goals: what was aimed at.
        notes: what was left out and why.
    """

    title: str
    about: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class UnequalError(RuntimeError):
    """Two ways to compute one thing do not agree, so that there is no point in timing them."""


def interleaved(works: Mapping[str, Work], settings: Settings, repeat: int = 1) -> dict[str, Timing]:
    """Time every work once a round, so that whatever else the machine does hits all of them alike.

    On a CPU the clock counts the time of this process alone (user and system); on CUDA it is the wall clock around
    synchronised calls. The first round warms up; a work that took less than 50 ms in it is then called several times in
    a row for one measurement, up to ten.

    Args:
        works: what to time, by name.
        settings: number of rounds and device; a quick run has one round of one call and no warm-up.
        repeat: the least number of calls in a row.
    """
    calls = dict.fromkeys(works, 1)
    if not settings.quick:
        for name, work in works.items():
            calls[name] = max(repeat, min(10, round(_SHORT / max(_seconds(work, settings.device, 1), 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(1 if settings.quick else settings.rounds):
        for name, work in works.items():
            seconds[name].append(_seconds(work, settings.device, calls[name]) / calls[name])
    return {name: Timing(statistics.median(v), min(v), max(v), tuple(v)) for name, v in seconds.items()}


def _seconds(work: Work, device: str, calls: int) -> float:
    clock = time.perf_counter if device == "cuda" else time.process_time
    if device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    for _ in range(calls):
        work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def peak_bytes(work: Work, device: str = "cpu") -> int:
    """Return the most bytes of tensors that ``work`` held at once beyond those that were there before."""
    work()
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    held, peak = 0, 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def check_equal(what: str, found: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Refuse to time what does not compute the same.

    Raises:
        UnequalError: naming what differs and by how much.
    """
    try:
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    except AssertionError as error:
        raise UnequalError(f"{what}: {' '.join(str(error).split())[:300]}") from error


def times(slow: Timing, fast: Timing) -> float:
    """Return how many times faster ``fast`` is: the median of the rounds' ratios, as a busy round slows both."""
    if len(slow.rounds) == len(fast.rounds) > 0:
        return statistics.median(a / b for a, b in zip(slow.rounds, fast.rounds, strict=True))
    return slow.median / fast.median


def machine_facts() -> dict[str, str | int]:
    """Return what timings depend on, without anything that names the computer."""
    from akd_monai.networks.profile import machine_facts as facts

    wanted = ("system", "cpu", "cores", "threads", "gpu", "python", "torch", "monai", "numpy")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {key: value for key, value in facts().items() if key in wanted} | {"load": load}


def machine_name(device: str) -> str:
    """Return a file name for the results of this kind of machine."""
    name = torch.cuda.get_device_name() if device == "cuda" else str(machine_facts().get("cpu") or platform.machine())
    return "-".join("".join(c if c.isalnum() else " " for c in f"{device} {name}".lower()).split())
