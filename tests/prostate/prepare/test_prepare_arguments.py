# SPDX-License-Identifier: Apache-2.0
"""Arguments and folders that cannot work are refused, with the remedy, before anything is written."""

from __future__ import annotations

import pytest
from prepare_tools import grey, run, save, six_site

from akd_monai.errors import InputError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 4}, r"size must be at least 8 pixels, got 4"),
        ({"crop_mm": 1}, r"crop_mm must be at least 10 mm, got 1"),
        ({"flip_labels": "six-site-HK-13, him"}, r"unknown patient ID 'him' in flip_labels\. Known: six-site-HK-13"),
        ({"size": "big"}, r"size must be an integer, got 'big'"),
        ({"crop_mm": True}, r"crop_mm must be a number, got True"),
        ({"workers": "two"}, r"workers must be .*, got 'two'"),
        ({"workers": -1}, r"workers must be .*, got -1"),
        ({"site": "UCL"}, r"unknown site 'UCL' of source 'six-site' in this folder\. Known: HK\."),
        ({"flip_labels": ["six-site-HK-14"]}, r"unknown patient ID 'six-site-HK-14' .*Did you mean 'six-site-HK-13'"),
        ({"site": "../x"}, r"the name of a site holds letters, digits, '-' and '_' only, got '\.\./x'; choose"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, options, words):
    raw = six_site(tmp_path / "raw", "HK/Case13")
    with pytest.raises(InputError, match=words):
        run(raw, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_work_are_refused(tmp_path):
    raw = six_site(tmp_path / "raw", "HK/Case13")
    with pytest.raises(InputError, match=r"the input folder .*nothing does not exist"):
        run(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(InputError, match=r"lies in the input folder"):
        run(raw, raw / "out")
    with pytest.raises(InputError, match=r"input_dir must be a path, got 5"):
        run(5, tmp_path / "out")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match=r"folder '.*/file' cannot be written to \(File exists\): choose another"):
        run(raw, tmp_path / "file")
    with pytest.raises(InputError, match=r"folder '.*file/below' cannot be written to \(Not a directory\)"):
        run(raw, tmp_path / "file/below")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: is no valid JSON .*; delete it and prepare again"):
        run(raw, tmp_path / "out")
    (tmp_path / "out/manifest.json").write_text('{"format": "other", "version": 3}')
    with pytest.raises(InputError, match=r"format 'other' version 3.*'akd_monai\.prepared' version 1"):
        run(raw, tmp_path / "out")


def test_two_scans_that_would_get_one_name_are_refused(tmp_path):
    for folder in ("raw/HK", "raw/hk"):
        save(tmp_path / folder / "Case13.nii.gz", grey())
    with pytest.raises(
        InputError, match=r"HK/Case13.* and .*hk/Case13.* are one case of source 'six-site' by their na"
    ):
        run(tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()
