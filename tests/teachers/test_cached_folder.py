# SPDX-License-Identifier: Apache-2.0
"""The folder of a teacher cache: its size, its description, and what happens when it cannot be used."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
from teacher_tools import SIZE, all_terms, run

from akd_monai.errors import InputError


def test_the_size_is_told_before_anything_is_written(tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        run(tmp_path / "a", steps=5, terms=all_terms()[:1], cache_dtype="float16")
    # 121 differences of two bytes and 121 bits, each a multiple of 8: 248 + 16; 20 draws are fewer than 64 views
    assert "264 B for each view of a slice, at most 20 still to be computed, 5.28 kB" in caplog.text
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=20 * 264 - 1))
    with pytest.raises(InputError, match="are free: free space, choose another folder, set cache_dtype to float16"):
        run(tmp_path / "b", steps=5, terms=all_terms()[:1], cache_dtype="float16")
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=20 * 264))
    run(tmp_path / "b", steps=5, terms=all_terms()[:1], cache_dtype="float16")


def test_the_folder_says_what_it_holds(tmp_path):
    run(tmp_path, steps=5)
    told = {
        json.loads(path.read_text())["layer"]: json.loads(path.read_text()) for path in tmp_path.rglob("about.json")
    }
    assert told[""]["shape"] == [2, SIZE, SIZE]
    assert told["body"]["shape"] == [6, 6, 6]
    assert told[""]["teacher"] == told["body"]["teacher"]
    assert len(told[""]["teacher"]["weights"]) == 64


@pytest.mark.fault(
    "Teacher cache",
    "the description of a cache is damaged",
    injected="its text is replaced",
    outcome="written again",
)
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"shape": 3}', '{"shape": ["x"]}'])
def test_a_damaged_description_is_written_again(tmp_path, caplog, damage):
    first = run(tmp_path, steps=5)
    files = sorted(tmp_path.rglob("about.json"))
    before = [path.read_bytes() for path in files]
    for path in files:
        path.write_text(damage)
    again = run(tmp_path, steps=5)
    assert again.terms == first.terms
    assert caplog.text.count("about.json is damaged and will be written again") == len(files) == 2
    assert [path.read_bytes() for path in files] == before
    assert again.images <= 2  # one to learn the shapes, one to describe them
    assert run(tmp_path, steps=5).images == 0


def test_a_description_of_another_shape_is_refused(tmp_path):
    run(tmp_path, steps=5)
    path = next(path for path in tmp_path.rglob("about.json") if json.loads(path.read_text())["layer"] == "body")
    path.write_text(path.read_text().replace('"row_bytes"', '"other"').replace("6,\n  6,\n  6", "6,\n  5,\n  6"))
    with pytest.raises(InputError, match=r"gave outputs \[6, 5, 6\] and \[6, 6, 6\] for inputs of one shape"):
        run(tmp_path, steps=5, terms=all_terms()[1:2])


def test_what_is_missing_is_counted_in_each_layer(tmp_path, caplog):
    """The logits of all 64 views are there, no feature is: 64 features of 6 x 6 x 6 float32 numbers, 864 bytes each."""
    run(tmp_path, steps=200, terms=all_terms()[:1])
    with caplog.at_level(logging.INFO):
        run(tmp_path, steps=200, terms=all_terms()[:2])
    assert len({path.name for path in tmp_path.rglob("*.row")}) == 64
    assert "1.85 kB for each view of a slice, at most 64 still to be computed, 55.3 kB" in caplog.text


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"folder '.*file/.*' cannot be written to \(Not a directory\): choose another"
    ):
        run(tmp_path / "file", steps=5)


@pytest.mark.fault(
    "Teacher cache",
    "the cache is deleted during a run",
    injected="the folder is removed",
    outcome="said in one line",
)
def test_a_folder_that_is_deleted_during_a_run_is_said(tmp_path):
    trainer = run(tmp_path, steps=5).trainer
    batch = next(iter(trainer.data_loader))
    shutil.rmtree(tmp_path)
    with pytest.raises(
        InputError, match=r"\.row: was deleted or changed while a run was using it; start the run again"
    ):
        trainer.teacher_source(
            batch["image"].as_tensor() if hasattr(batch["image"], "as_tensor") else batch["image"], batch
        )
