# SPDX-License-Identifier: Apache-2.0
"""The command line: quick help, and one clear line with exit code 2 for a user's mistake."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import FEATURES, small_bundle

from akd_monai.__main__ import VERBS, main, user_error
from akd_monai.errors import InputError
from akd_monai.networks.nets import UNetPlusPlus


def write_case(root, site, name, mask=True):
    (root / site).mkdir(parents=True, exist_ok=True)
    volume = np.random.default_rng(0).normal(100, 20, (32, 32, 4)).astype(np.float32)
    gland = np.zeros(volume.shape, np.uint8)
    gland[10:20, 10:20] = 1
    nib.save(nib.Nifti1Image(volume, np.eye(4)), root / site / f"{name}.nii.gz")
    if mask:
        nib.save(nib.Nifti1Image(gland, np.eye(4)), root / site / f"{name}_segmentation.nii.gz")


@pytest.fixture
def bundles(tmp_path):
    """A teacher with drawn weights, a student, and two cases."""
    teacher, student = small_bundle("unetplusplus", tmp_path / "teacher"), small_bundle("enet", tmp_path / "student")
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), teacher / "models" / "model.pt")
    for number in range(2):
        write_case(tmp_path / "data", "I2CVB", f"Case{number:02}")
    return teacher, student, tmp_path / "data"


def fails_with(capsys, *command):
    """Run a verb that must end with code 2 and return the single line on stderr."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, command)))
    assert stop.value.code == 2
    text = capsys.readouterr().err.strip()
    line = text.splitlines()[-1]
    assert line.startswith("akd_monai: ")
    assert "Traceback" not in text
    return line


def distil(bundles, *options):
    teacher, student, data = bundles
    return ["distill", f"--teacher={teacher}", f"--student={student}", f"--dataset_dir={data}", *options]


def test_help_names_every_verb_and_loads_nothing_heavy():
    code = (
        "import sys; from akd_monai.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'mlflow', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for verb in VERBS:
        assert verb in done.stdout + done.stderr


def test_unknown_verb_ends_with_2():
    with pytest.raises(SystemExit) as stop:
        main(["distil"])
    assert stop.value.code == 2


def test_unknown_loss(bundles, capsys):
    line = fails_with(capsys, *distil(bundles, "--terms=logits,afinity"))
    assert "unknown loss 'afinity'. Did you mean 'affinity'?" in line


def test_tap_that_does_not_exist_lists_near_matches(bundles, capsys):
    line = fails_with(capsys, *distil(bundles, "--student_layer=stage33"))
    assert "unknown layer 'stage33' in ENet. Did you mean" in line
    assert "'stage3'," in line


def test_teacher_without_weights(bundles, capsys):
    (bundles[0] / "models" / "model.pt").unlink()
    assert "has no weights (models/model.pt): train it first" in fails_with(capsys, *distil(bundles))


def test_folder_without_cases(bundles, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    line = fails_with(capsys, *distil((*bundles[:2], tmp_path / "empty")))
    assert str(tmp_path / "empty") in line


def test_image_without_mask(bundles, capsys):
    write_case(bundles[2], "I2CVB", "Case07", mask=False)
    line = fails_with(capsys, *distil(bundles))
    assert "Case07" in line


def test_truncated_volume_is_named(bundles, capsys):
    path = bundles[2] / "I2CVB" / "Case01.nii.gz"
    path.write_bytes(path.read_bytes()[:600])
    path = bundles[2] / "I2CVB" / "Case00.nii.gz"
    path.write_bytes(path.read_bytes()[:600])
    line = fails_with(capsys, *distil(bundles))
    assert "Case0" in line


def test_misspelt_override_is_refused(bundles, capsys):
    assert "no id 'epohcs' to override. Did you mean 'epochs'" in fails_with(capsys, *distil(bundles, "--epohcs=3"))


def test_bundle_that_does_not_exist(bundles, capsys):
    line = fails_with(capsys, "evaluate", "--bundle=no/such", f"--dataset_dir={bundles[2]}")
    assert "bundle folder 'no/such' does not exist" in line


def test_evaluation_without_weights(bundles, capsys):
    line = fails_with(capsys, "evaluate", f"--bundle={bundles[1]}", f"--dataset_dir={bundles[2]}")
    assert "has no weights" in line


def test_unknown_setting_of_the_demo(capsys, tmp_path):
    line = fails_with(capsys, "demo", f"--output_dir={tmp_path}", "--epoch=3")
    assert "the demo has no setting 'epoch'. Did you mean 'epochs'" in line


def test_user_error_is_found_behind_wrapped_errors():
    try:
        try:
            raise InputError("the cause")
        except InputError as error:
            raise RuntimeError("failed to evaluate") from error
    except RuntimeError as error:
        assert str(user_error(error)) == "the cause"
    assert user_error(RuntimeError("a bug")) is None
