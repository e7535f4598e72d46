# SPDX-License-Identifier: Apache-2.0
"""The public names of ``akd_monai.prostate``, and the places where they were before."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

import akd_monai.prostate
from akd_monai.data.nifti import write_nifti

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["akd_monai.prostate", "akd_monai.prostate.prepare"])
def test_importing_loads_neither_torch_nor_monai(module):
    code = f"import sys, {module}; print([name for name in ('torch', 'monai', 'itk') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", akd_monai.prostate.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(akd_monai.prostate, name))
    assert name in dir(akd_monai.prostate)


@pytest.mark.parametrize("module", ["akd_monai.data.prepare", "akd_monai.prostate.prepare"])
def test_the_old_name_of_prepare_leads_to_the_new_one(module, caplog):
    assert importlib.import_module(module).prepare is akd_monai.prostate.prepare_dataset
    assert "is now akd_monai.prostate.prepare_dataset" in caplog.text


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'akd_monai\.prostate\.prepare' has no attribute 'prepared'"):
        _ = importlib.import_module("akd_monai.prostate.prepare").prepared


def raw_folder(root):
    volume = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    write_nifti(root / "HK/Case13.nii.gz", volume, np.diag([-1.0, -1.0, 3.0, 1.0]))
    return root


def prepared_by(config, tmp_path):
    config = {**config, "source": "six-site", "workers": 1}
    config |= {"input_dir": str(raw_folder(tmp_path / "raw")), "output_dir": str(tmp_path / "out")}
    parser = ConfigParser(config)
    parser.parse()
    parser.get_parsed_content("imports")
    (result,) = parser.get_parsed_content("run")
    return result.done


def test_a_config_of_version_0_1_still_works(tmp_path):
    call = "$akd_monai.data.prepare.prepare(@source, @input_dir, @output_dir, workers=@workers)"
    config = {"imports": ["$import akd_monai.data.prepare", "$import akd_monai"], "run": [call]}
    assert prepared_by(config, tmp_path) == ["HK/Case13"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("bundles/*/configs/preprocessing.json")), ids=lambda p: p.parts[-3])
def test_the_shipped_config_prepares(path, tmp_path):
    config = ConfigParser.load_config_file(path)
    assert prepared_by(config, tmp_path) == ["HK/Case13"]
