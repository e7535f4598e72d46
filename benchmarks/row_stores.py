# SPDX-License-Identifier: Apache-2.0
"""What the rows of a teacher cache are kept in: speed, safety and lines of several stores.

LMDB is measured where the package ``lmdb`` is installed.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import random
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Goal, Result, Settings, Timing, UnequalError, interleaved, short, times

# of float16 logits and labels, and of float32 features of UNet++, for a slice of 384 x 384
SIZES = (313_344, 4_718_592)
BATCH = 2
KILLS = 20
FLIPS = 20
_RIGHT, _WRONG, _UNUSABLE = range(3)


ABOUT = (
    "Rows of {:.0f} kB (logits and labels of a slice, float16) and {:.0f} kB (features of UNet++, float32). Times in ms and "
    "as a multiple of the first line's; {batch} rows are read, pages in memory; appending is timed by the wall, one row a "
    "call, with what it waits for the disk. Safety with the smaller rows: {kills} writers killed 20 to 120 ms after their "
    "first row, complete rows that are lost or wrong; {flips} times one flipped byte in a store of 8 rows, all right again "
    "/ a wrong row given / store unusable; two processes that append the same keys at once, rows that are complete and the "
    "same to both. Lines of code without comments."
)


@dataclass(frozen=True)
class Candidate:
    """A store: the module that holds nothing else, and its class."""

    name: str
    module: str
    kind: str

    @property
    def is_installed(self) -> bool:
        """Whether what it needs is there."""
        return not self.module.endswith("lmdb_rows") or importlib.util.find_spec("lmdb") is not None

    def open(self, folder: Path, row_bytes: int) -> Any:
        """Return the store in a folder."""
        return getattr(importlib.import_module(self.module), self.kind)(folder, row_bytes)

    def lines(self) -> int:
        """Return the lines of code of the module, without comments, docstrings and the habits of its author."""
        tree = ast.parse(Path(importlib.util.find_spec(self.module).origin).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return sum(bool(line.strip()) for line in ast.unparse(tree).splitlines())


MAPPED = Candidate(
    "one memory-mapped file with an index (version 0.1)", "benchmarks.row_candidates.mapped", "MappedRows"
)
CANDIDATES = (
    MAPPED,
    Candidate("a file for each row (in use)", "akd_monai.teachers._rows", "RowStore"),
    Candidate("SQLite, write-ahead log", "benchmarks.row_candidates.sqlite", "SqliteRows"),
    Candidate("LMDB", "benchmarks.row_candidates.lmdb_rows", "LmdbRows"),
)


def key_of(number: int) -> bytes:
    """Return the key of a row, which lies anywhere, as a hash does."""
    return random.Random(number).randbytes(16)


def row_of(number: int, size: int) -> np.ndarray:
    """Return the content of a row."""
    return np.frombuffer(random.Random(f"row {number}").randbytes(size), np.uint8)


def close(store: Any) -> None:
    """Close a store that has something to close."""
    getattr(store, "close", lambda: None)()


def in_child(work: Callable[[], int]) -> int:
    """Run ``work`` in a process of its own and return its result; an error or a crash makes a store unusable."""
    child = os.fork()
    if child == 0:
        end = _UNUSABLE
        try:
            end = work()
        finally:
            os._exit(end)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return end if end in (_RIGHT, _WRONG) else _UNUSABLE


class Timed:
    """All stores with the same rows of one size."""

    def __init__(self, folder: Path, candidates: list[Candidate], size: int, count: int) -> None:
        self.rows = [row_of(number, size) for number in range(count)]
        self.keys = [key_of(number) for number in range(count)]
        self.draw = random.Random(0)
        self.stores = {c.name: c.open(folder / str(size) / c.kind, size) for c in candidates}

    def appends(self) -> dict[str, Timing]:
        """Append every row to each store in turn, by the clock on the wall: a store may wait for the disk."""
        seconds: dict[str, list[float]] = {name: [] for name in self.stores}
        for number, (key, row) in enumerate(zip(self.keys, self.rows, strict=True)):
            for name, store in self.stores.items():
                start = time.perf_counter()
                store.append(key, number, row)
                seconds[name].append(time.perf_counter() - start)
        return {name: Timing(statistics.median(s), min(s), max(s), tuple(s)) for name, s in seconds.items()}

    def reads(self, settings: Settings) -> dict[str, Timing]:
        """Read two rows at random."""
        for name, store in self.stores.items():
            self._check(name, store)
        works = {name: lambda store=store: self._read(store) for name, store in self.stores.items()}
        return interleaved(works, settings, repeat=1 if settings.quick else 10)

    def _read(self, store: Any) -> np.ndarray:
        keys = self.draw.sample(self.keys, BATCH)
        return store.read([key for key in keys if store.find(key) is not None])

    def _check(self, name: str, store: Any) -> None:
        for number, (key, row) in enumerate(zip(self.keys, self.rows, strict=True)):
            if store.find(key) != number or not np.array_equal(store.read([key])[0], row):
                raise UnequalError(f"row {number} of {name}")


def killed(candidate: Candidate, folder: Path, size: int, rounds: int) -> str:
    """Kill a writer at random moments; return how many of the rows that it had stored are lost or wrong."""
    draw = random.Random(1)
    contents = [row_of(number, size) for number in range(20)]
    stored = lost = wrong = 0
    for number in range(rounds):
        place = folder / f"{candidate.kind}-{number}"
        done = _written_until_killed(candidate, place, contents, draw.uniform(0.02, 0.12))
        store = candidate.open(place, size)
        for row in range(done + 2):
            tag = store.find(key_of(row))
            stored += row < done
            lost += row < done and tag is None
            wrong += tag is not None and not np.array_equal(store.read([key_of(row)])[0], contents[row % len(contents)])
        store.append(key_of(done + 5), 0, contents[0])
        close(store)
        shutil.rmtree(place)
    return f"{lost} / {wrong} of {stored}"


def _written_until_killed(candidate: Candidate, place: Path, contents: list[np.ndarray], seconds: float) -> int:
    """Return how many rows a process had stored when it was killed so many seconds after the first one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        store = candidate.open(place, len(contents[0]))
        for number in range(5000):
            store.append(key_of(number), number, contents[number % len(contents)])
            os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    done = 1
    while content := os.read(reader, 4096):
        done += len(content)
    os.close(reader)
    return done


def flipped(candidate: Candidate, folder: Path, size: int, flips: int) -> str:
    """Flip one byte in a store of 8 rows, half of the time within the first 64 of a file.

    Return how often all rows are right after those that were found damaged have been stored again, how often a wrong row
    is given, and how often the store can no longer be used.
    """
    draw = random.Random(2)
    ends = dict.fromkeys((_RIGHT, _WRONG, _UNUSABLE), 0)
    source = folder / "intact"
    store = candidate.open(source, size)
    for number in range(8):
        store.append(key_of(number), number, row_of(number, size))
    close(store)
    for number in range(flips):
        place = folder / f"flipped-{number}"
        shutil.copytree(source, place)
        files = [path for path in sorted(place.rglob("*")) if path.is_file() and path.stat().st_size]
        path = draw.choices(files, [path.stat().st_size for path in files])[0]
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content) if number % 2 else 64)] ^= 16
        path.write_bytes(content)
        ends[in_child(lambda place=place: _repair(candidate, place, size))] += 1
        shutil.rmtree(place)
    return " / ".join(map(str, ends.values()))


def _repair(candidate: Candidate, place: Path, size: int) -> int:
    """Read every row, store again what is not found, and read all once more."""
    store = candidate.open(place, size)
    for _ in range(2):
        for number in range(8):
            key, row = key_of(number), row_of(number, size)
            tag = store.find(key)
            if tag is None:
                store.append(key, number, row)
            elif tag != number or not np.array_equal(store.read([key])[0], row):
                return _WRONG
    return _RIGHT if all(store.find(key_of(number)) == number for number in range(8)) else _UNUSABLE


def shared(candidate: Candidate, folder: Path, size: int, count: int) -> str:
    """Let two processes append the same keys at once, each rows of its own; return how many came out right.

    That is: stored, complete, and never replaced once a process has found it.
    """
    seen = [folder / f"seen-{process}" for process in range(2)]
    start = time.time() + 0.3
    children = []
    for process in range(2):
        child = os.fork()
        if child == 0:
            _append_beside(candidate, folder / "shared", size, count, process, start, seen[process])
            os._exit(0)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        return "ended with an error"
    store = candidate.open(folder / "shared", size)
    found = [store.find(key_of(number)) for number in range(count)]
    views = [path.read_text().split() for path in seen]
    right = 0
    for number, tag in enumerate(found):
        complete = tag is not None and np.array_equal(
            store.read([key_of(number)])[0], row_of(number + 1000 * tag, size)
        )
        right += complete and all(view[number] == str(tag) for view in views)
    close(store)
    return f"{right} of {count}"


def _append_beside(
    candidate: Candidate, place: Path, size: int, count: int, process: int, start: float, seen: Path
) -> None:
    rows = [row_of(number + 1000 * process, size) for number in range(count)]
    store = candidate.open(place, size)
    time.sleep(max(0.0, start - time.time()))
    tags = []
    for number, row in enumerate(rows):
        store.append(key_of(number), process, row)
        tags.append(str(store.find(key_of(number))))
    seen.write_text(" ".join(tags))


def run(settings: Settings) -> Result:
    """Measure every store."""
    with tempfile.TemporaryDirectory(prefix="akd_benchmark_", ignore_cleanup_errors=True) as folder:
        return _run(settings, Path(folder))


def _run(settings: Settings, folder: Path) -> Result:
    sizes = (4096, 65536) if settings.quick else SIZES
    small = sizes[0]
    kills, flips, count = (2, 4, 10) if settings.quick else (KILLS, FLIPS, 60)
    result = Result(
        "Where the rows of a teacher cache are kept",
        ABOUT.format(*(size / 1000 for size in sizes), batch=BATCH, kills=kills, flips=flips),
        [
            "store",
            *(f"{what} {size / 1000:.0f} kB" for what in ("read", "append") for size in sizes),
            "killed: lost / wrong",
            "flipped: right / wrong / unusable",
            "two writers",
            "lines",
        ],
    )
    # each of them forks, so that they come before a store is opened in this process
    safety = {}
    for candidate in CANDIDATES:
        if candidate.is_installed:
            place = folder / candidate.kind
            place.mkdir()
            safety[candidate.name] = [
                killed(candidate, place, small, kills),
                flipped(candidate, place, small, flips),
                shared(candidate, place, small, count),
            ]
            shutil.rmtree(place)
    measured = [candidate for candidate in CANDIDATES if candidate.is_installed]
    reads, appends = [], []
    for size in sizes:
        timed = Timed(folder, measured, size, 8 if settings.quick else 32)
        appends.append(timed.appends())
        reads.append(timed.reads(settings))
    for candidate in CANDIDATES:
        if candidate not in measured:
            result.rows.append([candidate.name, *["not installed, not run"] * 7, str(candidate.lines())])
            continue
        cells = [_cell(timing[MAPPED.name], timing[candidate.name]) for timing in (*reads, *appends)]
        result.rows.append([candidate.name, *cells, *safety[candidate.name], str(candidate.lines())])
    in_use = CANDIDATES[1].name
    if not settings.quick:
        both = sum(timing[in_use].median for timing in reads)
        result.goals.append(Goal("rows, reading two slices with features, ms", 5, 1000 * both, at_most=True))
    return result


def _cell(base: Timing, timing: Timing) -> str:
    return f"{short(1000 * timing.median)} ({short(1 / times(base, timing))}x)"
