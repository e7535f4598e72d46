# SPDX-License-Identifier: Apache-2.0
"""A file is the old one or the new one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from akd_monai.files import atomic_write


def test_text_arrives_as_utf8_with_plain_line_ends(tmp_path):
    path = atomic_write(tmp_path / "a" / "b.txt", "5 × 3\nmm")
    assert path.read_bytes() == "5 × 3\nmm".encode()
    assert os.listdir(path.parent) == ["b.txt"]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = atomic_write(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(path, "new \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_process_stopped_before_the_exchange_leaves_the_old_file(tmp_path, monkeypatch):
    path = atomic_write(tmp_path / "a.txt", "old")

    def stopped(source, target):
        assert Path(source).read_text() == "new"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        mode = stat.S_IMODE(atomic_write(tmp_path / "a.txt", "x").stat().st_mode)
    finally:
        os.umask(before)
    assert mode == 0o644
