# SPDX-License-Identifier: Apache-2.0
"""The verb that measures the networks of bundles, each in a fresh process."""

from __future__ import annotations

import json
import re

import pytest
from bundle_tools import small_bundle

from akd_monai.__main__ import main
from akd_monai.bundle.profiles import profile_bundles
from akd_monai.errors import InputError


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


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
            f"--output_file={tmp_path}/x.json",
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
        ({"threads": 0}, "threads must be an integer of 1 or more, got 0"),
        ({"device": "cuda:99"}, "device 'cuda:99' does not exist"),
        ({"device": "gpu"}, "device 'gpu' does not exist"),
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


def test_profile_passes_the_gate_unless_the_bundle_is_trusted(tmp_path, capsys):
    bundle = small_bundle("enet", tmp_path / "student")
    path = bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    content["network_def"]["out_channels"] = "$1 + 1"
    path.write_text(json.dumps(content))
    options = [str(bundle), "--size=32", "--device=cpu", "--repeats=1", "--threads=1"]
    with pytest.raises(SystemExit) as stop:
        main(["profile", *options])
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the expression '$1 + 1' in 'network_def::out_channels', which would run as code" in line
    assert "--trust_bundle to profile" in line
    main(["profile", *options, "--trust_bundle"])
    assert bundle.name in capsys.readouterr().out
