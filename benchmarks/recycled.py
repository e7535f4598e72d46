# SPDX-License-Identifier: Apache-2.0
"""Memory that the allocator keeps and gives out again, and how many pages of it a work touches for the first time.

The C library returns a large block to the system when it is freed, so that the next one of its size costs a page fault for
every 4096 bytes again. Whether it does so is a setting, and a form that needs much memory is slow or not by it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")

# no block of its own from the system for a large request, and nothing is given back; read when a process starts
_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}


def is_recycling_possible() -> bool:
    """Return whether the C library is one that reads these settings."""
    return platform.libc_ver()[0] == "glibc"


def with_recycled_memory(function: Callable[..., T], *arguments: object) -> T:
    """Return what ``function`` returns in a process whose allocator keeps all memory."""
    with _environment(_KEPT), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def page_faults(work: Callable[[], object]) -> int:
    """Return how many pages a second call of ``work`` touches that the process did not have."""
    import resource

    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
