# SPDX-License-Identifier: Apache-2.0
"""The store of rows: complete rows only, whatever happens, for any number of processes."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from functools import partial

import numpy as np
import pytest

from akd_monai.errors import InputError
from akd_monai.teachers import _rows as rows_module
from akd_monai.teachers._rows import RowStore

BYTES = 40


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def row(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, BYTES).astype(np.uint8)


def fill(store: RowStore, numbers) -> None:
    for number in numbers:
        if store.find(key(number)) is None:
            store.append(key(number), -number, row(number))


def check(store: RowStore, numbers) -> None:
    for number in numbers:
        found = store.find(key(number))
        assert found == -number
        np.testing.assert_array_equal(store.read([key(number)])[0], row(number))


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*/*"))


def names(numbers) -> list[str]:
    return sorted(f"{number:032x}.row" for number in numbers)


def test_rows_come_back_part_by_part(tmp_path):
    fill(RowStore(tmp_path / "new", BYTES), range(5))
    store = RowStore(tmp_path / "new", BYTES)
    check(store, range(5))
    np.testing.assert_array_equal(store.read([key(4), key(1)], 8, 24), np.stack([row(4), row(1)])[:, 8:24])
    np.testing.assert_array_equal(store.read([key(2)], 37), row(2)[None, 37:])
    assert store.find(key(9)) is None
    assert store.count(key(n) for n in (1, 3, 9)) == 2
    assert RowStore(tmp_path / "none", BYTES).count([key(1)]) == 0


def test_a_second_row_under_a_key_is_not_stored(tmp_path):
    one, other = RowStore(tmp_path, BYTES), RowStore(tmp_path, BYTES)
    one.append(key(1), -1, row(1))
    other.append(key(1), 5, row(2))
    check(other, [1])
    assert files(tmp_path) == names([1])


def test_a_row_of_another_size_is_a_fault_of_the_program(tmp_path):
    with pytest.raises(ValueError, match="a row has 40 bytes, got 3"):
        RowStore(tmp_path, BYTES).append(key(1), 0, np.zeros(3, np.uint8))


def start(work) -> int:
    """Run ``work`` in a process of its own that ends with it, 0 where it returns True."""
    child = os.fork()
    if child == 0:
        done = False
        try:
            done = work()
        finally:
            os._exit(0 if done else 1)
    return child


@pytest.mark.fault(
    "Teacher cache",
    "killed inside a write",
    injected="SIGKILL while a row is written",
    outcome="complete rows only",
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="skipped: needs fork")
@pytest.mark.parametrize(
    "moment", ["first byte", "header", "half a row", "before it has its name", "after it has its name"]
)
def test_a_process_killed_inside_a_write_leaves_complete_rows(tmp_path, monkeypatch, moment):
    """The fourth row is the one in whose writing the process ends."""

    def work():
        die_in_fourth_write(monkeypatch, moment)
        fill(RowStore(tmp_path, BYTES), range(10))

    assert os.waitpid(start(work), 0)[1] == signal.SIGKILL
    complete = range(4 if moment == "after it has its name" else 3)
    store = RowStore(tmp_path, BYTES)
    assert [number for number in range(10) if store.find(key(number)) is not None] == list(complete)
    check(store, complete)
    leftovers = [name for name in files(tmp_path) if name.startswith(".tmp-")]
    assert len(leftovers) == (0 if moment == "after it has its name" else 1)
    fill(store, range(10))
    check(RowStore(tmp_path, BYTES), range(10))
    assert files(tmp_path) == names(range(10))


def die_in_fourth_write(monkeypatch, moment):
    calls = [0]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def lethal_write(path, *parts):
        calls[0] += 1
        if calls[0] == 4 and not moment.endswith("name"):
            count = {"first byte": 1, "header": 12, "half a row": 12 + BYTES // 2}[moment]
            parts = (b"".join(bytes(part) for part in parts)[:count],)
        plain_write(path, *parts)

    def lethal_replace(source, target):
        last = calls[0] == 4
        if last and not moment.startswith("after"):
            die()
        plain_replace(source, target)
        if last:
            die()

    plain_write, plain_replace = rows_module._write, os.replace
    monkeypatch.setattr(rows_module, "_write", lethal_write)
    monkeypatch.setattr(rows_module.os, "replace", lethal_replace)


@pytest.mark.fault(
    "Teacher cache",
    "two processes fill one cache",
    injected="at the same moment",
    outcome="the first row counts, all are equal",
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="skipped: needs fork")
def test_of_processes_that_fill_at_once_the_first_one_counts(tmp_path, monkeypatch):
    """Each process stores rows of its own; what one has found, no other one may replace."""
    plain = rows_module._write

    def slow(*args):
        time.sleep(0.001)  # so that processes meet between looking for a row and storing it
        plain(*args)

    monkeypatch.setattr(rows_module, "_write", slow)
    children = [start(partial(keeps_what_it_found, tmp_path, process)) for process in range(3)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert files(tmp_path) == names(range(60))


def keeps_what_it_found(folder, process) -> bool:
    store, found = RowStore(folder, BYTES), {}
    for number in range(60):
        store.append(key(number), process, row(1000 * process + number))
        found[number] = (store.find(key(number)), store.read([key(number)]).tobytes())
    time.sleep(0.2)
    fresh = RowStore(folder, BYTES)
    return all(found[n] == (fresh.find(key(n)), fresh.read([key(n)]).tobytes()) for n in found)


@pytest.mark.fault(
    "Teacher cache",
    "a bit of a cached row flips",
    injected="a bit of a file",
    outcome="reported, computed again",
)
@pytest.mark.parametrize("place", [3, 8, 12, 51], ids=["tag", "checksum", "first byte of the row", "last byte"])
def test_a_flipped_bit_is_reported_and_the_row_stored_again(tmp_path, caplog, place):
    fill(RowStore(tmp_path, BYTES), range(3))
    path = next(tmp_path.glob(f"*/{1:032x}.row"))
    before = path.read_bytes()
    assert len(before) == 52
    path.write_bytes(before[:place] + bytes([before[place] ^ 4]) + before[place + 1 :])
    store = RowStore(tmp_path, BYTES)
    with caplog.at_level(logging.WARNING):
        assert store.find(key(1)) is None
    assert f"{path} of the teacher cache is damaged and will be computed again" in caplog.text
    fill(store, range(3))
    check(RowStore(tmp_path, BYTES), range(3))
    assert path.read_bytes() == before


@pytest.mark.fault(
    "Teacher cache",
    "a cached row is cut",
    injected="a shorter file",
    outcome="computed again",
)
@pytest.mark.parametrize("size", [0, 5, 12, 51, 53])
def test_a_file_of_another_length_is_a_damaged_row(tmp_path, size):
    fill(RowStore(tmp_path, BYTES), range(2))
    path = next(tmp_path.glob(f"*/{1:032x}.row"))
    os.truncate(path, size)
    store = RowStore(tmp_path, BYTES)
    assert store.find(key(1)) is None
    fill(store, range(2))
    check(RowStore(tmp_path, BYTES), range(2))


@pytest.mark.parametrize("damage", ["deleted", "shortened"])
def test_a_row_that_is_lost_while_it_is_used_is_said(tmp_path, damage):
    store = RowStore(tmp_path, BYTES)
    fill(store, range(2))
    check(store, range(2))
    path = next(tmp_path.glob(f"*/{1:032x}.row"))
    if damage == "deleted":
        path.unlink()
    else:
        os.truncate(path, 30)
    with pytest.raises(
        InputError, match=r"1\.row: was deleted or changed while a run was using it; start the run again"
    ):
        store.read([key(0), key(1)])


def test_a_cache_can_be_read_without_the_right_to_write(tmp_path):
    fill(RowStore(tmp_path, BYTES), range(2))
    (tmp_path / ".lock").unlink()
    check(RowStore(tmp_path, BYTES), range(2))
    assert not (tmp_path / ".lock").exists()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot write to the teacher cache .*file.*Not a directory.*choose another"):
        RowStore(tmp_path / "file" / "cache", BYTES).append(key(1), 0, row(1))


@pytest.mark.fault(
    "Teacher cache",
    "the disk of the cache is full",
    injected="writing raises ENOSPC",
    outcome="one line; nothing changes",
)
def test_a_full_disk_is_explained_and_changes_nothing(tmp_path, monkeypatch):
    fill(RowStore(tmp_path, BYTES), range(2))

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(rows_module.os, "replace", full)
    store = RowStore(tmp_path, BYTES)
    with pytest.raises(
        InputError, match=r"\(No space left on device\): free space or choose another folder; what is st"
    ):
        store.append(key(2), 0, row(2))
    check(store, range(2))
    assert store.find(key(2)) is None
    assert files(tmp_path) == names(range(2))
