# SPDX-License-Identifier: Apache-2.0
"""The verb before a server runs: one line for what is missing or wrong."""

from __future__ import annotations

import importlib.util
import re
import socket
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import FEATURES, small_bundle

from akd_monai.__main__ import main
from akd_monai.errors import InputError
from akd_monai.label import serve, server
from akd_monai.label._checks import REQUIREMENTS, check_address
from akd_monai.label._torchvision import torchvision_stand_in
from akd_monai.networks.nets import UNetPlusPlus

PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)$", re.MULTILINE)


@pytest.fixture
def installed(monkeypatch):
    """As if MONAI Label were installed; nothing below gets as far as to use it."""
    monkeypatch.setattr(server, "require_monailabel", lambda: None)


@pytest.fixture
def studies(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 2), np.float32), np.eye(4)), folder / "case.nii.gz")
    return folder


@pytest.fixture
def bundles(tmp_path):
    root = small_bundle("unetplusplus", tmp_path / "bundles" / "large")
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), root / "models" / "model.pt")
    return root.parent


@pytest.mark.skipif(importlib.util.find_spec("monailabel") is not None, reason="skipped: MONAI Label is installed")
def test_without_monai_label_the_line_says_how_to_install_it(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["label", f"--studies={tmp_path}"])
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("akd_monai: MONAI Label is not installed: install it")
    assert f"pip install --no-deps -r {REQUIREMENTS}" in line


def test_folder_of_images_must_be_there(installed, tmp_path):
    with pytest.raises(InputError, match="is no folder; give the folder that the images lie in"):
        serve(str(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()


@pytest.mark.fault(
    "MONAI Label",
    "masks among the images",
    injected="earlier predictions in the folder",
    outcome="refused, named",
)
@pytest.mark.parametrize("name", ["case_segmentation.nii.gz", "case_pred.nii.gz", "mask.nii", "case_roi.nrrd"])
def test_masks_among_the_images_are_refused(installed, studies, name):
    (studies / name).touch()
    with pytest.raises(InputError, match=rf"'{name}' .* is a mask by its name, .* labels/final"):
        serve(str(studies))


@pytest.mark.fault(
    "MONAI Label",
    "the port is in use",
    injected="another socket listens",
    outcome="one line",
)
def test_port_in_use_is_named(installed, studies, bundles, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve(str(studies), bundles_dir=bundles, app_dir=tmp_path / "app", port=port)
    assert not (tmp_path / "app").exists()


def test_uncertainty_needs_a_bundle_that_is_served(installed, studies, bundles):
    with pytest.raises(InputError, match=r"unknown bundle 'small' for uncertainty, among those served. Known: large"):
        serve(str(studies), bundles_dir=bundles, uncertainty="small")


def test_torchvision_stands_in_only_for_a_while():
    present = importlib.util.find_spec("torchvision") is not None
    with torchvision_stand_in():
        from torchvision.utils import make_grid
    assert (importlib.util.find_spec("torchvision") is not None) == present
    if not present:
        assert "torchvision" not in sys.modules
        with pytest.raises(InputError, match="needs torchvision, which is not installed"):
            make_grid(torch.zeros(1, 1, 2, 2))


def test_pins_are_those_of_the_project_where_both_have_one():
    ours = dict(PINNED.findall((Path(__file__).parents[2] / "constraints.txt").read_text()))
    label = dict(PINNED.findall(REQUIREMENTS.read_text()))
    assert "monailabel" in label
    shared = ours.keys() & label.keys()
    # MONAI Label's DICOM SEG package needs pydicom 2, highdicom 3: segment says so where it finds the former
    assert {name for name in shared if ours[name] != label[name]} == {"pydicom"}
    assert (label["pydicom"][0], ours["pydicom"][0]) == ("2", "3")
    assert not {"torch", "torchvision", "monai", "numpy"} & label.keys()


def test_help_says_that_bundles_are_trusted(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["label", "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "The bundles are trusted: their configs are programs, and the server runs them." in told
    assert "serve only bundles whose author you trust" in told


@pytest.mark.parametrize("port", [0, -1, 65536, 99999, True, "http"])
def test_a_port_that_is_none_is_one_line(port):
    with pytest.raises(InputError, match=rf"^port must be an integer between 1 and 65535, got {port!r}\.$"):
        check_address("127.0.0.1", port)
