# SPDX-License-Identifier: Apache-2.0
"""The bundles that the package brings: written beside nothing, equal to the repository's, never over something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_tools import fails_with

from akd_monai.__main__ import main
from akd_monai.bundle import build_network, list_bundles, write_bundles
from akd_monai.errors import InputError, UnknownNameError

BUNDLES = Path(__file__).parents[2] / "bundles"
ENET = "prostate_mri_enet"


def contents(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_what_is_written_is_what_the_repository_holds(tmp_path):
    written = write_bundles(tmp_path)
    assert sorted(path.name for path in written) == sorted(path.name for path in BUNDLES.iterdir())
    for path in written:
        ours = contents(BUNDLES / path.name)
        of_a_training = {name for name in ours if name.split("/")[0] not in ("configs", "docs", "LICENSE")}
        assert contents(path) == {name: data for name, data in ours.items() if name not in of_a_training}
        assert (path / "models").is_dir()


@pytest.mark.parametrize("bundle", list_bundles(), ids=lambda bundle: bundle.name)
def test_the_list_says_what_the_bundles_are(bundle):
    network = build_network(BUNDLES / bundle.name)
    assert bundle.parameters == sum(weight.numel() for weight in network.parameters())
    readme = (BUNDLES / bundle.name / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"({bundle.parameters:,} parameters," in readme
    assert f"({bundle.role})" in readme.splitlines()[0]
    # an overlay for distillation makes a student
    assert (bundle.role == "student") == (BUNDLES / bundle.name / "configs" / "distill.json").is_file()


def test_the_verb_lists_all_or_those_that_are_named(capsys):
    main(["bundles"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[-3:]] == [
        [ENET, "student", "353,545", "parameters"],
        ["prostate_mri_erfnet", "student", "2,062,872", "parameters"],
        ["prostate_mri_espnet", "student", "182,719", "parameters"],
    ]
    assert len(lines) == 5
    main(["bundles", "--name", ENET])
    assert capsys.readouterr().out.splitlines() == [re.sub(r" {2,}(?=prostate|student)", "  ", lines[2])]


def test_a_second_call_keeps_weights_and_writes_what_is_missing(tmp_path, capsys):
    weights = write_bundles(tmp_path, name=ENET)[0] / "models" / "model.pt"
    weights.write_bytes(b"trained")
    main(["bundles", f"--output_dir={tmp_path}", f"--name={ENET}"])
    assert capsys.readouterr().out == f"Nothing to write: {tmp_path} holds these bundles already\n"
    (tmp_path / ENET / "configs" / "train.json").unlink()
    assert write_bundles(tmp_path, name=[ENET]) == [tmp_path / ENET]
    assert weights.read_bytes() == b"trained"
    assert contents(tmp_path / ENET)["configs/train.json"] == contents(BUNDLES / ENET)["configs/train.json"]


@pytest.mark.fault(
    "Wrong input",
    "`bundles` where a folder holds something else",
    injected="an edited config; a file in place of the folder",
    outcome="exit code 2, one line names it; no bundle is written",
)
@pytest.mark.parametrize("edited", ["configs/train.json", "."])
def test_what_is_there_is_not_overwritten(edited, tmp_path, capsys):
    path = tmp_path / "prostate_mri_unetplusplus" / edited
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff mine")
    line = fails_with(capsys, "bundles", "--output_dir", tmp_path)
    assert "prostate_mri_unetplusplus' is not the bundle of this version: 1 of its files differ" in line
    assert line.endswith("choose another --output_dir, or rename that folder; nothing was written.")
    assert [name.name for name in tmp_path.iterdir()] == ["prostate_mri_unetplusplus"]
    assert path.read_bytes() == b"\xff mine"


def test_line_ends_of_another_system_are_the_same(tmp_path):
    path = write_bundles(tmp_path, name=ENET)[0] / "configs" / "train.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert write_bundles(tmp_path, name=ENET) == []


def test_an_unknown_bundle_is_told(tmp_path):
    for call in (list_bundles, lambda name: write_bundles(tmp_path, name=name)):
        with pytest.raises(UnknownNameError, match=r"unknown bundle 'enet'.*prostate_mri_enet"):
            call(["enet"])


def test_a_number_in_place_of_a_folder_is_told():
    with pytest.raises(InputError, match="output_dir must be a path, got 5"):
        write_bundles(5)
