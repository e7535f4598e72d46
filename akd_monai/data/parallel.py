# SPDX-License-Identifier: Apache-2.0
"""Do one thing to many cases, in several processes, so that a crash in a library costs one case and not the run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from tqdm.auto import tqdm

from akd_monai.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKER_DIED = (
    "the worker process died without a word",
    "out of memory, or a script without `if __name__ == '__main__':`? try workers=1",
)
_GIVE_UP_AFTER = 3


def for_each(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, progress: bool, title: str
) -> Iterator[tuple[Item, Result | None]]:
    """Yield each item with its result as it comes; ``None`` for an item whose worker process died.

    Args:
        function: a function at the top level of a module, so that it can be sent to a process.
        workers: number of processes; with 0 or 1, or no more items than that, all is done in this one.
        progress: show a bar, if the output is a terminal.
        title: what the bar says.

    Raises:
        InputError: if ``workers`` is no number of processes.

    Example:
        >>> list(for_each(abs, [-1, 2], workers=0, progress=False, title="abs"))
        [(-1, 1), (2, 2)]
    """
    check_workers(workers)
    bar = tqdm(total=len(items), desc=title, unit="case", disable=None if progress else True)
    with bar:
        # Starting processes takes longer than a handful of cases.
        several = workers > 1 and len(items) > workers
        results = _pooled(function, items, workers) if several else ((item, function(item)) for item in items)
        for pair in results:
            bar.update()
            yield pair


def check_workers(workers: object) -> None:
    """Raise an :class:`InputError` unless ``workers`` is a whole number from 0 up.

    Example:
        >>> check_workers("two")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: workers must be a whole number of processes from 0 up, got 'two'.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise InputError(f"workers must be a whole number of processes from 0 up, got {workers!r}.")


def _pooled(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result | None]]:
    """Run all; the items left over when a process died are run again, each alone, to find the one that kills it."""
    left = dict(enumerate(items))
    # A forked child can inherit a locked thread pool of a library; a spawned one starts clean.
    pool = _pool(min(workers, len(items)))
    try:
        futures = {pool.submit(function, item): index for index, item in left.items()}
        for future in as_completed(futures):
            try:
                result = future.result()
            except BrokenProcessPool:
                continue
            yield left.pop(futures[future]), result
    finally:
        pool.shutdown(cancel_futures=True)
    done, deaths = len(items) - len(left), 0
    for item in left.values():
        hopeless = deaths >= _GIVE_UP_AFTER and not done
        result_or_none = None if hopeless else _alone(function, item)
        done, deaths = done + (result_or_none is not None), deaths + (result_or_none is None)
        yield item, result_or_none


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone; a pool whose owner is killed would wait for ever."""

    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _alone(function: Callable[[Item], Result], item: Item) -> Result | None:
    with _pool(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return None
