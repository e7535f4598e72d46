# SPDX-License-Identifier: Apache-2.0
"""Call one function for many items, in several processes; a crash in a library costs one item and not the run."""

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

__all__ = ["WORKER_DIED", "check_workers", "for_each"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# What to tell the user of an item without a result: what happened, and the remedy.
WORKER_DIED = (
    "the worker process died without a message",
    "out of memory, a file that crashes its reader, or a script without `if __name__ == '__main__':`? try workers=0",
)
_GIVE_UP_AFTER = 3


def for_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    progress: bool,
    title: str,
    unit: str = "case",
    isolated: bool = False,
) -> Iterator[tuple[Item, Result | None]]:
    """Yield each item with its result, in the order in which they are completed.

    An item whose worker process died has the result ``None``; report ``WORKER_DIED`` for it. ``function`` must
    therefore not return ``None`` itself. What it raises is raised here and ends the loop.

    Args:
        function: a function at the top level of a module, so that it can be sent to a process.
        items: what to call it with; they are pickled.
        workers: number of processes; with 0 or 1, or no more items than that, all is done in this one.
        progress: show a bar, if the output is a terminal.
        title: title of the bar.
        unit: what the bar calls an item.
        isolated: whether ``function`` may crash, so that even one item gets a process of its own; with 0 workers all is
            done in this one nevertheless.

    Raises:
        InputError: if ``workers`` is no number of processes.

    Example:
        >>> list(for_each(abs, [-1, 2], workers=0, progress=False, title="abs"))
        [(-1, 1), (2, 2)]
    """
    check_workers(workers)
    # tqdm shows a bar on terminals alone when disable is None
    with tqdm(total=len(items), desc=title, unit=unit, disable=None if progress else True) as bar:
        for pair in _results(function, items, workers, isolated=isolated):
            bar.update()
            yield pair


def check_workers(workers: object) -> None:
    """Raise an :class:`~akd_monai.errors.InputError` unless ``workers`` is an integer of at least 0.

    Example:
        >>> check_workers("two")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: workers must be an integer of at least 0, got 'two'.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise InputError(f"workers must be an integer of at least 0, got {workers!r}.")


def _results(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, *, isolated: bool
) -> Iterator[tuple[Item, Result | None]]:
    # Starting processes takes longer than a handful of cases.
    is_worth_it = workers > 1 and len(items) > workers
    if items and (is_worth_it or (isolated and workers > 0)):
        yield from _pooled(function, items, workers)
        return
    for item in items:
        yield item, function(item)


def _pooled(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result | None]]:
    """Call the function in a pool; then again, each alone, for the items left when a process died."""
    left = dict(enumerate(items))
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
    yield from _one_by_one(function, list(left.values()), any_done=len(left) < len(items))


def _one_by_one(
    function: Callable[[Item], Result], items: Sequence[Item], any_done: bool
) -> Iterator[tuple[Item, Result | None]]:
    """Find the item that kills its process; give up after some deaths if not one item was completed."""
    deaths = 0
    for item in items:
        hopeless = deaths >= _GIVE_UP_AFTER and not any_done
        result = None if hopeless else _alone(function, item)
        if result is None:
            deaths += 1
        else:
            any_done = True
        yield item, result


def _pool(workers: int) -> ProcessPoolExecutor:
    # A forked child can inherit a locked thread pool of a library; a spawned one starts clean.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone; otherwise a pool whose owner is killed waits forever."""

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
