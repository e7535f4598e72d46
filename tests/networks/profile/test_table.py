# SPDX-License-Identifier: Apache-2.0
"""The table of profiles, the file it goes to, and the verb that measures bundles in fresh processes."""

from __future__ import annotations

import json
import re

import pytest
from bundle_tools import small_bundle

from akd_monai.__main__ import main
from akd_monai.bundle.profile import profile_bundles
from akd_monai.errors import InputError
from akd_monai.networks.profile.table import BEGIN, END, profile_table, write_profile

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
    with pytest.raises(InputError, match=r"cannot write .* give another file"):
        write_profile(tmp_path / "file" / "page.md", "new")


def test_verb_measures_and_writes(tmp_path, capsys):
    bundle = small_bundle("unetplusplus", tmp_path / "teacher")
    main(
        [
            "profile",
            str(bundle),
            "--size=16",
            "--device=cpu",
            "--repeats=1",
            "--threads=1",
            f"--output={tmp_path}/x.json",
        ]
    )
    head, _, row = cells(capsys.readouterr().out.strip())[:3]
    assert head[-2:] == ["cpu: ms", "cpu: MiB"]
    assert row[:2] == ["teacher", "1x1x16x16"]
    facts = json.loads((tmp_path / "x.json").read_text())
    (profile,) = facts["profiles"]
    assert (profile["network"], profile["input_shape"], facts["threads"]) == ("UNetPlusPlus", [1, 1, 16, 16], 1)
    assert profile["runs"]["cpu"]["time_ms"] > 0
    assert facts["machine"]["torch"]


def test_mistakes_of_a_fresh_process_are_told_here(tmp_path):
    bundle = small_bundle("enet", tmp_path / "student")
    with pytest.raises(InputError, match=re.escape("got [20, 20]; pad to [24, 24]")):
        profile_bundles([bundle], size=20, device="cpu", repeats=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [16]}, "size must be one side or 2 for bundle"),
        ({"size": "big"}, "size must be one side or 2 for bundle"),
        ({"size": 0}, "size must be one side or 2 for bundle"),
        ({"threads": 0}, "threads must be a whole number of 1 or more, got 0"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"device": "gpu"}, "device 'gpu' is not there"),
    ],
    ids=str,
)
def test_wrong_options(tmp_path, options, message):
    bundle = small_bundle("enet", tmp_path / "student")
    with pytest.raises(InputError, match=message):
        profile_bundles([bundle], **options)


def test_no_bundle_or_none_that_is_there():
    with pytest.raises(InputError, match="profile needs at least one bundle"):
        profile_bundles([])
    with pytest.raises(InputError, match="bundle folder 'no/such' does not exist"):
        profile_bundles(["no/such"])
