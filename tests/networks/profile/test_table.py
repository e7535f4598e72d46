# SPDX-License-Identifier: Apache-2.0
"""The table of profiles, the note below it, and the file it goes to."""

from __future__ import annotations

import pytest

from akd_monai.errors import InputError
from akd_monai.networks.profile import machine_facts, profile_note, profile_table, write_profile

BEGIN = "<!-- begin of the profile -->"
END = "<!-- end of the profile -->"

FACTS = {
    "name": "one",
    "network": "ENet",
    "input_shape": [1, 1, 384, 384],
    "parameters": 353_545,
    "gflops_conv": 2.112,
    "gflops_table1": 2.2699,
    "checkpoint_bytes": 1_640_000,
    "runs": {"cpu": {"time_ms": 1234.56, "peak_memory_mb": None}},
}


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_table_holds_the_facts_and_dashes_for_what_is_unknown():
    other = {
        **FACTS,
        "name": "another one",
        "network": "BasicUNet",
        "runs": {"cuda": {"time_ms": 2.0, "peak_memory_mb": 3.6}},
    }
    table = profile_table([FACTS, other], paper=True)
    assert len({len(line) for line in table.splitlines()}) == 1
    head, _, first, second = cells(table)
    assert head[-4:] == ["cpu: ms", "cpu: MiB", "cuda: ms", "cuda: MiB"]
    assert first == ["one", "1x1x384x384", "353,545", "2.11", "2.27", "0.353", "2.2", "1.6", "1,234.6", "-", "-", "-"]
    assert second[5:] == ["-", "-", "1.6", "-", "-", "2.0", "4"]


def test_paper_columns_only_when_asked_for():
    assert "paper" not in profile_table([FACTS])


def test_marked_files_keep_what_stands_around(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for text in ("new", "newer"):
        write_profile(path, text)
        assert path.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"


def test_unmarked_files_are_replaced_and_made(tmp_path):
    path = tmp_path / "deep" / "page.md"
    write_profile(path, "one")
    write_profile(path, "two")
    assert path.read_text() == "two\n"


@pytest.mark.parametrize("old", [BEGIN, END, f"{END}\n{BEGIN}"])
def test_half_marked_files_are_left_alone(tmp_path, old):
    path = tmp_path / "page.md"
    path.write_text(old)
    with pytest.raises(InputError, match="needs both lines"):
        write_profile(path, "new")
    assert path.read_text() == old


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match=r"folder .*file' cannot be written to .* choose another or change its permissions"
    ):
        write_profile(tmp_path / "file" / "page.md", "new")


def test_a_file_that_is_no_text_is_left_alone(tmp_path):
    path = tmp_path / "page.md"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"page\.md: cannot be read \(it is no text in UTF-8\); give another file"):
        write_profile(path, "new")
    assert path.read_bytes() == b"\xff\xfe\x00"


def test_note_names_this_machine_unless_told_otherwise():
    facts = machine_facts()
    assert f"; {facts['cpu']} with 2 threads; torch {facts['torch']}. MiB" in profile_note(
        ["cpu"], repeats=3, threads=2
    )
    note = profile_note(["cuda:0"], repeats=3, threads=1, machine={"gpu": "A card", "cpu": "A processor"})
    assert note == (
        "Measured with: batch of 1, float32, untrained weights, median of 3 passes without gradient; A card. "
        "MiB is how far one pass raised the memory in use."
    )
