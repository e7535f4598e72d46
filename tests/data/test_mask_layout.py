# SPDX-License-Identifier: Apache-2.0
"""Each volume has a mask of its own, or the clash is an error before anything is computed."""

from __future__ import annotations

import os

import pytest

from akd_monai.data import MaskLayout, input_volumes
from akd_monai.errors import InputError


def masks_of(tmp_path, *names, root="in", output="masks"):
    """Return the paths of the masks relative to the output folder, after the check."""
    volumes = [str(tmp_path / name) for name in names]
    layout = MaskLayout(tmp_path / output, volumes=volumes, root=tmp_path / root if root else "")
    layout.check()
    return [layout.filename(volume).relative_to(tmp_path / output).as_posix() for volume in volumes]


def test_folders_are_mirrored(tmp_path):
    names = ["in/a.nii.gz", "in/patA/t2.nii.gz", "in/patB/t2.nii.gz", "in/patB/deep/t2.mha"]
    wanted = ["a_pred.nii.gz", "patA/t2_pred.nii.gz", "patB/t2_pred.nii.gz", "patB/deep/t2_pred.nii.gz"]
    assert masks_of(tmp_path, *names) == wanted


def test_a_single_file_lands_in_the_output_folder(tmp_path):
    assert masks_of(tmp_path, "in/deep/t2.nii.gz", root="in/deep/t2.nii.gz") == ["t2_pred.nii.gz"]


def test_files_from_anywhere_keep_the_folders_that_tell_them_apart(tmp_path):
    names = ["x/a/t2.nii.gz", "x/b/t2.nii.gz"]
    assert masks_of(tmp_path, *names, root="in") == ["a/t2_pred.nii.gz", "b/t2_pred.nii.gz"]
    assert masks_of(tmp_path, *names, root="") == ["a/t2_pred.nii.gz", "b/t2_pred.nii.gz"]


def test_relative_paths_are_mirrored(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    layout = MaskLayout("masks", volumes=["../in/a/t2.nii.gz", "../in/b/t2.nii.gz"], root="../in")
    assert layout.filename("../in/a/t2.nii.gz").as_posix() == "masks/a/t2_pred.nii.gz"
    assert layout.filename(os.path.abspath("../in/b/t2.nii.gz")).as_posix() == "masks/b/t2_pred.nii.gz"


def test_volumes_that_differ_in_their_suffix_keep_it(tmp_path):
    names = ["in/a.nii", "in/a.nii.gz", "in/a.mha", "in/b.nii", "in/p/a.nii"]
    wanted = ["a.nii_pred.nii.gz", "a.nii.gz_pred.nii.gz", "a.mha_pred.nii.gz", "b_pred.nii.gz", "p/a_pred.nii.gz"]
    assert masks_of(tmp_path, *names) == wanted


@pytest.mark.fault(
    "Masks that are written",
    "two volumes would be written to one mask",
    injected="names that differ in case, accents or suffix alone",
    outcome="an error names both",
)
@pytest.mark.parametrize(
    "names",
    [
        ("in/T2.nii.gz", "in/t2.nii.gz"),
        ("in/PatA/t2.nii.gz", "in/pata/t2.nii.gz"),
        ("in/e\u0301.nii.gz", "in/\u00e9.nii.gz"),
        # the first two keep their suffixes, and the third has the name of one of them
        ("in/a.nii", "in/a.nii.gz", "in/a.nii.nii.gz"),
    ],
    ids=["file", "folder", "accents", "suffix"],
)
def test_a_clash_is_an_error_that_names_both(tmp_path, names):
    with pytest.raises(InputError, match=r"would be written to one mask, .*; rename one of them") as caught:
        masks_of(tmp_path, *names)
    assert str(tmp_path / names[0]) in str(caught.value)
    assert not (tmp_path / "masks").exists()


@pytest.mark.fault(
    "Masks that are written",
    "a mask would replace a volume",
    injected="output into the input folder",
    outcome="refused",
)
def test_a_mask_never_overwrites_a_volume(tmp_path):
    with pytest.raises(InputError, match=r"in/a\.nii\.gz: its mask would overwrite the volume .*in/a_pred\.nii\.gz"):
        masks_of(tmp_path, "in/a.nii.gz", "in/a_pred.nii.gz", output="in")


def test_a_name_without_room_for_the_mask_is_refused(tmp_path):
    assert masks_of(tmp_path, f"in/{'x' * 243}.nii.gz")
    with pytest.raises(InputError, match="its name is too long for a mask's, 256 of 255 bytes; rename it"):
        masks_of(tmp_path, f"in/{'x' * 244}.nii.gz")


@pytest.mark.fault(
    "Masks that are written",
    "the output folder is a file",
    injected="a file of its name",
    outcome="refused in one line",
)
def test_an_output_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "masks").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        masks_of(tmp_path, "in/a.nii.gz")


def test_leftovers_of_a_killed_run_are_deleted(tmp_path):
    for name in ("masks/p/.tmp-999999999-1-a.nii.gz", "masks/p/a_pred.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    masks_of(tmp_path, "in/p/a.nii.gz", "in/b.nii.gz")
    assert [path.name for path in (tmp_path / "masks" / "p").iterdir()] == ["a_pred.nii.gz"]


def test_what_was_not_announced_and_patches_have_names_too(tmp_path):
    layout = MaskLayout("masks", volumes=[])
    assert layout.filename("elsewhere/t2.nii.gz").as_posix() == "masks/t2_pred.nii.gz"
    assert layout.filename("elsewhere/t2.nii.gz", idx=3).as_posix() == "masks/t2_pred_3.nii.gz"
    assert layout.filename().as_posix() == "masks/subject_pred.nii.gz"
    layout.check()


def test_a_second_run_reads_no_masks(tmp_path):
    (tmp_path / "in" / "p").mkdir(parents=True)
    (tmp_path / "in" / "p" / "a.nii.gz").write_text("")
    for output in ("in", "in/masks"):
        volumes = input_volumes(tmp_path / "in", output_dir=tmp_path / output)
        assert [os.path.basename(volume) for volume in volumes] == ["a.nii.gz"]
        mask = MaskLayout(tmp_path / output, volumes=volumes, root=tmp_path / "in").filename(volumes[0])
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.write_text("")


def test_masks_of_an_earlier_run_are_told(tmp_path, caplog):
    masks_of(tmp_path, "in/a.nii.gz", "in/b.nii.gz")
    assert caplog.text == ""
    (tmp_path / "masks" / "b_pred.nii.gz").write_bytes(b"")
    masks_of(tmp_path, "in/a.nii.gz", "in/b.nii.gz")
    assert "masks: 1 of 2 masks of an earlier run; one stays where its volume fails now." in caplog.text
