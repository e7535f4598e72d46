# SPDX-License-Identifier: Apache-2.0
"""Commands of an experiment: shown, run once, remembered; and what the demo asks before it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments._steps import StepError, Steps
from akd_monai.experiments.demo import _choose_sites
from akd_monai.experiments.settings import DemoSettings

WRITE = "import pathlib; f = pathlib.Path('out.txt'); f.write_text(f.read_text() + 'x' if f.exists() else 'x')"


def test_a_done_step_is_not_run_again_even_by_another_call(tmp_path, capfd):
    for _ in range(2):
        Steps(tmp_path, {"seed": 0}).run("write", ["-c", WRITE], tmp_path)
    assert (tmp_path / "out.txt").read_text() == "x"
    shown = capfd.readouterr().out
    assert "python -c" in shown
    assert "write: done before" in shown
    assert Steps(tmp_path, {"seed": 0}).done("write")


def test_the_record_names_no_home_and_that_of_before_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/homes/ada")
    settings = {"dataset_dir": "/homes/ada/data", "seed": 0}
    steps = Steps(tmp_path, settings)
    steps.finish("write", "python --dataset_dir=/homes/ada/data", 1.0)
    text = (tmp_path / "steps.json").read_text()
    assert "ada" not in text
    assert Steps(tmp_path, settings).commands == ["python --dataset_dir=$HOME/data"]
    # a record that has the folder itself
    (tmp_path / "steps.json").write_text(text.replace("~", "/homes/ada").replace("$HOME", "/homes/ada"))
    assert Steps(tmp_path, settings).commands == ["python --dataset_dir=$HOME/data"]
    with pytest.raises(InputError, match="another dataset_dir"):
        Steps(tmp_path, {**settings, "dataset_dir": "/homes/ada/other"})


def test_a_failed_step_is_told_and_tried_again(tmp_path):
    steps = Steps(tmp_path, {})
    with pytest.raises(StepError, match=r"exit code 3 from: \(cd .* && python -c"):
        steps.run("fail", ["-c", "raise SystemExit(3)"], tmp_path)
    assert not Steps(tmp_path, {}).done("fail")


def test_a_step_that_was_interrupted_interrupts_the_experiment(tmp_path):
    steps = Steps(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        steps.run("stop", ["-c", "raise SystemExit(130)"], tmp_path)
    assert not steps.done("stop")


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="skipped: this system has no fork")
def test_ctrl_c_during_the_fork_of_a_command_is_not_lost(tmp_path):
    # the hook is where Python notices a Ctrl-C that came while the process was copied, and drops its exception
    code = (
        "import os, pathlib, signal, sys; from akd_monai.experiments._steps import Steps\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))\n"
        "try: Steps(pathlib.Path(sys.argv[1]), {}).run('wait', ['-c', 'import time; time.sleep(2)'], pathlib.Path('.'))\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("stopped\n")
    assert "ignored" not in done.stderr
    assert not (tmp_path / "steps.json").exists()


def test_a_folder_of_another_experiment_is_refused(tmp_path):
    Steps(tmp_path, {"seed": 0, "epochs": 3}).finish("a", "", 1.0)
    with pytest.raises(InputError, match="holds a run with another epochs; name another folder with --output_dir"):
        Steps(tmp_path, {"seed": 0, "epochs": 4})
    assert "a" in json.loads((tmp_path / "steps.json").read_text())["done"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"size": 100}, "size must be a multiple of 16, at least 32, got 100; try 96"),
        ({"features": "8,16"}, "features must be five widths"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"samples_per_epoch": 4}, "samples_per_epoch 4 gives no batch of 8"),
        ({"fold": 2}, r"fold must lie in 0..folds-1 with at least 2 folds, got fold 2 of 2"),
    ],
)
def test_settings_that_cannot_work(flags, message):
    with pytest.raises(InputError, match=message):
        DemoSettings.from_flags(flags)


def test_an_unknown_setting_lists_near_matches():
    with pytest.raises(UnknownNameError, match=r"unknown setting 'epoch' of the demo\. Did you mean 'epochs'"):
        DemoSettings.from_flags({"epoch": 3})


@pytest.fixture
def sites(tmp_path):
    for site in ("BMC", "I2CVB", "UCL"):
        (tmp_path / site).mkdir()
        for name in ("Case00.nii.gz", "Case00_segmentation.nii.gz"):
            nib.save(nib.Nifti1Image(np.ones((4, 4, 2), np.uint8), np.eye(4)), tmp_path / site / name)
    return tmp_path


def test_sites_are_chosen(sites):
    assert _choose_sites(sites, DemoSettings()) == (("BMC", "UCL"), "I2CVB")
    assert _choose_sites(sites, DemoSettings(target="UCL", sources=("BMC",))) == (("BMC",), "UCL")


def test_the_target_is_no_source(sites):
    with pytest.raises(InputError, match=r"the teacher's sites \['UCL'\] and the student's site 'UCL' must differ"):
        _choose_sites(sites, DemoSettings(target="UCL", sources=("UCL",)))
