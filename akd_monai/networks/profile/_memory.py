# SPDX-License-Identifier: Apache-2.0
"""How far the memory in use rises while networks run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["watch_memory"]

_MIB = 2**20


def watch_memory(device: torch.device) -> Callable[[], float | None]:
    """Return a function that returns by how many MiB memory has risen at most since this call.

    On a GPU, this is allocated memory; on a CPU, resident memory of the process, or None where the system does not
    report it.
    """
    if device.type == "cuda":
        return _watch_gpu(device)
    return _watch_process()


def _watch_gpu(device: torch.device) -> Callable[[], float]:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    return lambda: (torch.cuda.max_memory_allocated(device) - before) / _MIB


def _watch_process() -> Callable[[], float | None]:
    # Linux resets the peak on request, so that only what follows is measured
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _peak_resident()
        return lambda: max(0.0, _peak_resident() - before)
    return lambda: None


def _peak_resident() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
