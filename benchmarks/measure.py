# SPDX-License-Identifier: Apache-2.0
"""One benchmark as plain data; a module of its own, as another process cannot import from ``__main__``."""

from __future__ import annotations

import importlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.common import Result, Settings, machine_facts


def measure(name: str, settings: Settings) -> dict[str, Any]:
    """Run one benchmark on one thread and return its result as plain data."""
    torch.set_num_threads(1)
    module = importlib.import_module(f"benchmarks.{name}")
    result: Result = module.run(settings)
    stored = asdict(result) | {"goals": [asdict(g) | {"reached": g.reached} for g in result.goals]}
    return stored | {"machine": machine_facts(), "rounds": settings.rounds, "device": settings.device}


def measure_apart(name: str, settings: Settings) -> dict[str, Any]:
    """Run one benchmark in a process of its own: what another one left in the allocator changes times by a half."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, name, settings).result()
