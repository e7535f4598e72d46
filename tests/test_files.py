# SPDX-License-Identifier: Apache-2.0
"""A file is the old one or the new one, a folder belongs to one process, and broken JSON is one line."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from akd_monai.errors import InputError
from akd_monai.files import (
    FolderLock,
    as_path,
    atomic_write,
    check_writable,
    is_running,
    read_json,
    remove_leftovers,
    save_atomic,
    sha256_of,
    write_json,
)

Usage = namedtuple("Usage", "total used free")


def test_text_arrives_as_utf8_with_plain_line_ends(tmp_path):
    path = atomic_write(tmp_path / "a" / "b.txt", "5 × 3\nmm")
    assert path.read_bytes() == "5 × 3\nmm".encode()
    assert os.listdir(path.parent) == ["b.txt"]


@pytest.mark.parametrize("content", [b"12", bytearray(b"12"), memoryview(b"12"), lambda stream: stream.write(b"12")])
def test_bytes_and_streams_arrive_as_they_are(tmp_path, content):
    assert atomic_write(tmp_path / "a.bin", content).read_bytes() == b"12"


@pytest.mark.parametrize("name", ["x" * 255, "\u4e2d" * 85])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    assert atomic_write(tmp_path / name, "a").read_text() == "a"
    assert len(list(tmp_path.iterdir())) == 1


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path):
    path = atomic_write(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(path, "new \ud800")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.txt"])


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")

    def write(stream):
        stream.write(b"half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        atomic_write(path, write)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["model.pt"])


@pytest.mark.fault(
    "Disk, memory and processes",
    "stopped before a file takes its name",
    injected="the process ends within the write",
    outcome="the old file stays",
)
def test_a_process_stopped_before_the_exchange_leaves_the_old_file(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "a.txt", "old")

    def stopped(source, target):
        assert Path(source).read_text() == "new"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.txt"])


def test_threads_that_write_one_file_do_not_disturb_each_other(tmp_path):
    barrier = threading.Barrier(4)
    failures = []

    def write(stream):
        stream.write(b"complete")
        barrier.wait(60)  # every thread is writing when the first one replaces the file

    def work():
        try:
            atomic_write(tmp_path / "a.bin", write)
        except InputError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ((tmp_path / "a.bin").read_bytes(), os.listdir(tmp_path)) == (b"complete", ["a.bin"])


@pytest.mark.fault(
    "Disk, memory and processes",
    "the disk is full",
    injected="no space for a file",
    outcome="one line names the folder, what is needed and what is free",
)
def test_full_disk_is_named_with_folder_and_size(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_atomic({"a": torch.zeros(3)}, path)
    before = sha256_of(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, 1000))
    with pytest.raises(OSError, match=rf"no space left in '{tmp_path}' for model.pt: 4.0 MB needed") as caught:
        save_atomic({"a": torch.zeros(1_000_000)}, path)
    assert caught.value.errno == errno.ENOSPC
    assert (sha256_of(path), os.listdir(tmp_path)) == (before, ["model.pt"])


@pytest.mark.fault(
    "Disk, memory and processes",
    "the disk fills up while a file is written",
    injected="a write raises ENOSPC",
    outcome="one line; the old file stays",
)
def test_disk_that_fills_up_meanwhile(tmp_path):
    def write(stream):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="no space left in"):
        atomic_write(tmp_path / "model.pt", write)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_made(tmp_path):
    save_atomic({}, tmp_path / "a" / "b" / "model.pt")
    assert os.listdir(tmp_path / "a" / "b") == ["model.pt"]


@pytest.mark.parametrize("write", [lambda p: save_atomic({}, p), lambda p: atomic_write(p, "x")])
def test_a_folder_that_cannot_be_made_is_a_users_mistake(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"folder '.*file/below' cannot be written to \(Not a directory\): choose"):
        write(tmp_path / "file" / "below" / "model.pt")


def test_previous_file_is_kept_under_its_name(tmp_path):
    path = tmp_path / "a"
    for content in (b"1", b"2", b"3"):
        atomic_write(path, content, keep=tmp_path / "b")
    assert (path.read_bytes(), (tmp_path / "b").read_bytes()) == (b"3", b"2")


def test_hash_is_that_of_the_file_and_content_decides_it(tmp_path):
    told = []
    sha256 = save_atomic({"a": torch.ones(2)}, tmp_path / "a.pt", before_write=told.append)
    assert sha256 == hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest() == told[0]
    assert sha256 == sha256_of(tmp_path / "a.pt") == save_atomic({"a": torch.ones(2)}, tmp_path / "b.pt")
    assert sha256 != save_atomic({"a": torch.zeros(2)}, tmp_path / "b.pt")


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        modes = [stat.S_IMODE(atomic_write(tmp_path / "a.txt", "x").stat().st_mode)]
        save_atomic({}, tmp_path / "a.pt")
        modes.append(stat.S_IMODE((tmp_path / "a.pt").stat().st_mode))
    finally:
        os.umask(before)
    assert modes == [0o644, 0o644]


def test_check_writable_makes_the_folder_and_leaves_nothing(tmp_path):
    assert os.listdir(check_writable(tmp_path / "a" / "b")) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"folder '.*file' cannot be written to"):
        check_writable(tmp_path / "file")


def test_only_leftovers_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not is_running(ended.pid)
    names = [f".tmp-{ended.pid}-model.pt", f".tmp-{os.getpid()}-model.pt", f".tmp-{os.getppid()}-model.pt", "model.pt"]
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names[2:])


def test_leftovers_of_a_killed_writer_are_removed_as_deep_as_asked(tmp_path):
    code = (
        "import os, signal; from akd_monai.files import atomic_write;"
        f"atomic_write({str(tmp_path / 'a' / 'b' / 'x')!r}, lambda s: os.kill(os.getpid(), signal.SIGKILL))"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (left,) = os.listdir(tmp_path / "a" / "b")
    assert left.startswith(".tmp-")
    remove_leftovers(tmp_path, depth=1)
    assert os.listdir(tmp_path / "a" / "b") == [left]
    remove_leftovers(tmp_path, depth=2)
    assert os.listdir(tmp_path / "a" / "b") == []


def hold(folder, ready, release):
    lock = FolderLock(folder)
    lock.acquire()
    ready.set()
    release.wait()


@pytest.mark.fault(
    "Disk, memory and processes",
    "a process that holds a folder is killed",
    injected="SIGKILL",
    outcome="the folder is free at once",
)
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


def test_written_json_is_read_back(tmp_path):
    content = {"b": [1, 2.5, None], "a": "5 × 3"}
    path = write_json(tmp_path / "a.json", content)
    assert read_json(path) == content
    assert path.read_text(encoding="utf-8") == json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    assert write_json(path, content, sort_keys=True, indent=None).read_text().startswith('{"a": ')


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_hold_leaves_the_old_file(tmp_path, value):
    path = write_json(tmp_path / "a.json", [1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, [value])
    assert read_json(path, kind=list) == [1]


@pytest.mark.fault(
    "Wrong input",
    "broken JSON",
    injected="several kinds of damage",
    outcome="one line names file and place",
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is no valid JSON \(.*line 1 column 1 .*\); correct or replace the file\.$"),
        (b'{"a": 1,}', r"is no valid JSON \(.*line 1 column 9 .*\)"),
        (b'{\n"a" 1}', r"is no valid JSON \(.*line 2 column 5 .*\)"),
        (b"\xff\xfe\x00", r"is no valid JSON \(.*utf-8.*\)"),
        (b"[" * 100_000, r"is no valid JSON \(nested too deeply\)"),
        (b"[]", r"must hold an object at its top level, got list"),
        (b"3", r"must hold an object at its top level, got int"),
        (
            b'{"a": [{"b": 1, "c": 2, "b": 1}]}',
            r"has the key 'b' twice in one object, .*; correct or replace the file\.$",
        ),
    ],
    ids=["empty", "comma", "second line", "encoding", "deep", "list", "number", "repeated key"],
)
def test_broken_json_is_one_line_that_names_the_file(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.code == "json"


def test_json_that_cannot_be_opened_or_holds_another_type(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be opened \(No such file or directory\); check path"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"cannot be opened \(Is a directory\)"):
        read_json(tmp_path)
    path = write_json(tmp_path / "a.json", {})
    with pytest.raises(InputError, match=r"must hold a list at its top level, got dict; run it again\."):
        read_json(path, kind=list, remedy="run it again")
    assert read_json(path, kind=object) == {}


def test_paths_of_a_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/a", "input_dir") == tmp_path / "a"
    for value in (5, None, False, ["a"]):
        with pytest.raises(InputError, match=r"^input_dir must be a path, got "):
            as_path(value, "input_dir")
    # `-i -x.nii.gz`: Fire takes the name for another flag
    with pytest.raises(InputError, match=r"^input_dir has no value; give a path; .* as \./-name\.$"):
        as_path(True, "input_dir")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def no_space(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        atomic_write(path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"old"}
