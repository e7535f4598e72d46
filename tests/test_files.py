# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.files import (
    FolderLock,
    atomic_write,
    check_writable,
    is_running,
    remove_leftovers,
    save_atomic,
    sha256_of,
)

Usage = namedtuple("Usage", "total used free")


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def write(stream):
        stream.write(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        atomic_write(path, write)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["model.pt"])


def test_full_disk_is_named_with_folder_and_size(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_atomic({"a": torch.zeros(3)}, path)
    before = sha256_of(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 1000))
    with pytest.raises(OSError, match=rf"no space left in '{tmp_path}' for model.pt: 4.0 MB needed") as caught:
        save_atomic({"a": torch.zeros(1_000_000)}, path)
    assert caught.value.errno == errno.ENOSPC
    assert (sha256_of(path), os.listdir(tmp_path)) == (before, ["model.pt"])


def test_disk_that_fills_up_meanwhile(tmp_path):
    def write(stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="no space left in"):
        atomic_write(tmp_path / "model.pt", write)
    assert os.listdir(tmp_path) == []


def test_missing_folder_is_a_users_mistake(tmp_path):
    with pytest.raises(InputError, match=r"folder '.*absent' cannot be written to"):
        save_atomic({}, tmp_path / "absent" / "model.pt")


def test_previous_file_is_kept_under_its_name(tmp_path):
    path = tmp_path / "a"
    for content in (b"1", b"2", b"3"):
        atomic_write(path, lambda stream, c=content: stream.write(c), keep=tmp_path / "b")
    assert (path.read_bytes(), (tmp_path / "b").read_bytes()) == (b"3", b"2")


def test_hash_is_that_of_the_file_and_content_decides_it(tmp_path):
    told = []
    sha256 = save_atomic({"a": torch.ones(2)}, tmp_path / "a.pt", before_write=told.append)
    assert sha256 == hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest() == told[0]
    assert sha256 == sha256_of(tmp_path / "a.pt") == save_atomic({"a": torch.ones(2)}, tmp_path / "b.pt")
    assert sha256 != save_atomic({"a": torch.zeros(2)}, tmp_path / "b.pt")


def test_permissions_follow_the_umask(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    save_atomic({}, tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_check_writable_makes_the_folder_and_leaves_nothing(tmp_path):
    assert os.listdir(check_writable(tmp_path / "a" / "b")) == []


def test_only_leftovers_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not is_running(ended.pid)
    names = [f".tmp-{ended.pid}-model.pt", f".tmp-{os.getpid()}-model.pt", f".tmp-{os.getppid()}-model.pt", "model.pt"]
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names[2:])


def hold(folder, ready, release):
    lock = FolderLock(folder)
    lock.acquire()
    ready.set()
    release.wait()


def test_lock_names_its_holder_and_is_free_after_sigkill(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready, release))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(InputError, match=f"in use by process {holder.pid}: wait until that run ends"):
        FolderLock(tmp_path).acquire()
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with FolderLock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
