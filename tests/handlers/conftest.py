# SPDX-License-Identifier: Apache-2.0
"""Toy runs in processes of their own, which signals may hit."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def run_toy() -> Iterator[Callable[..., int]]:
    """Return ``run(folder, faults, **options)``, which gives the exit code; imports are paid for once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["akd_monai.handlers", "akd_monai.data.sampler"])

    def run(folder: Path, faults: dict[str, int] | None = None, **options: object) -> int:
        from toy_run import run_in_process

        folder.mkdir(parents=True, exist_ok=True)
        process = context.Process(target=run_in_process, args=(str(folder), faults or {}, options))
        process.start()
        process.join(timeout=120)
        return process.exitcode if process.exitcode is not None else process.kill() or 999

    yield run
