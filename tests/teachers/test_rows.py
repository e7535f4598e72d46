# SPDX-License-Identifier: Apache-2.0
"""The store of rows: whole rows only, whatever happens, for any number of processes."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import time

import numpy as np
import pytest

from akd_monai.errors import InputError
from akd_monai.teachers import rows as rows_module
from akd_monai.teachers.rows import RowStore

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
        assert found is not None
        assert found[1] == -number
        np.testing.assert_array_equal(store.read([found[0]])[0], row(number))


def test_rows_come_back_in_another_process_and_part_by_part(tmp_path):
    fill(RowStore(tmp_path / "new", BYTES), range(5))
    store = pickle.loads(pickle.dumps(RowStore(tmp_path / "new", BYTES)))
    check(store, range(5))
    places = [store.find(key(n))[0] for n in (4, 1)]
    np.testing.assert_array_equal(store.read(places, 8, 24), np.stack([row(4), row(1)])[:, 8:24])
    assert store.find(key(9)) is None


def test_a_second_row_under_a_key_is_not_stored(tmp_path):
    one, other = RowStore(tmp_path, BYTES), RowStore(tmp_path, BYTES)
    one.append(key(1), -1, row(1))
    other.append(key(1), 5, row(2))
    check(other, [1])
    assert (tmp_path / "rows.bin").stat().st_size == BYTES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="skipped: needs fork")
@pytest.mark.parametrize(("write", "share"), [(0, 0.0), (6, 0.5), (6, 1.0), (7, 0.0), (7, 0.5), (7, 1.0)])
def test_a_process_killed_inside_a_write_leaves_whole_rows(tmp_path, monkeypatch, write, share):
    """Writes alternate between row and record: 6 is the fourth row, 7 its record."""
    plain, count = rows_module._write_at, [0]

    def lethal(file, content, offset):
        if count[0] == write:
            plain(file, content[: int(share * len(content))], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += 1
        plain(file, content, offset)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(rows_module, "_write_at", lethal)
        fill(RowStore(tmp_path, BYTES), range(10))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    store = RowStore(tmp_path, BYTES)
    survived = [number for number in range(10) if store.find(key(number)) is not None]
    assert survived == list(range(4 if (write, share) == (7, 1.0) else write // 2))
    check(store, survived)
    fill(store, range(10))
    check(store, range(10))
    check(RowStore(tmp_path, BYTES), range(10))
    assert (tmp_path / "rows.bin").stat().st_size == 10 * BYTES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="skipped: needs fork")
def test_processes_that_fill_at_once_store_each_row_once(tmp_path, monkeypatch):
    plain = rows_module._write_at

    def slow(file, content, offset):
        time.sleep(0.001)  # so that processes meet between a row and its record
        plain(file, content, offset)

    monkeypatch.setattr(rows_module, "_write_at", slow)
    children = []
    for start in range(3):
        child = os.fork()
        if child == 0:
            fill(RowStore(tmp_path, BYTES), [(start * 20 + n) % 60 for n in range(60)])
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    check(RowStore(tmp_path, BYTES), range(60))
    assert (tmp_path / "rows.bin").stat().st_size == 60 * BYTES


def test_a_damaged_record_is_not_believed(tmp_path):
    fill(RowStore(tmp_path, BYTES), range(4))
    with open(tmp_path / "index.bin", "r+b") as stream:
        stream.seek(2 * 32 + 16)  # the tag of the third
        stream.write(b"\x01\x02")
    store = RowStore(tmp_path, BYTES)
    assert store.find(key(2)) is None
    fill(store, range(4))
    check(store, range(4))
    check(RowStore(tmp_path, BYTES), range(4))


def test_a_damaged_row_is_reported_and_made_again(tmp_path, caplog):
    fill(RowStore(tmp_path, BYTES), range(3))
    with open(tmp_path / "rows.bin", "r+b") as stream:
        stream.seek(BYTES + 3)
        stream.write(b"\xff\x00\xff")
    store = RowStore(tmp_path, BYTES)
    with caplog.at_level(logging.WARNING):
        assert store.find(key(1)) is None
    assert "row 1 of the teacher cache" in caplog.text
    assert "damaged" in caplog.text
    fill(store, range(3))
    check(store, range(3))
    check(RowStore(tmp_path, BYTES), range(3))


def test_rows_behind_the_end_of_a_shortened_file_are_made_again(tmp_path):
    fill(RowStore(tmp_path, BYTES), range(4))
    os.truncate(tmp_path / "rows.bin", 2 * BYTES + 5)
    store = RowStore(tmp_path, BYTES)
    assert [store.find(key(n)) is None for n in range(4)] == [False, False, True, True]
    fill(store, range(4))
    check(RowStore(tmp_path, BYTES), range(4))


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot write to the teacher cache .*file.*make room or give another folder"):
        RowStore(tmp_path / "file" / "cache", BYTES).append(key(1), 0, row(1))
