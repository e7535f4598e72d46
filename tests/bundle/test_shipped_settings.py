# SPDX-License-Identifier: Apache-2.0
"""The bundles that the package brings, written with settings of one's own."""

from __future__ import annotations

import json

import pytest
from cli_tools import fails_with

from akd_monai.__main__ import main
from akd_monai.bundle import build_network, find_problems, write_bundles

TEACHER = "prostate_mri_unetplusplus"
ENET = "prostate_mri_enet"
TRY = ["--spatial_size=[64,96]", "--epochs=2", "--batch_size=4", "--samples_per_epoch=48"]


def config(root, name):
    return json.loads((root / "configs" / f"{name}.json").read_text())


def test_training_inference_metadata_and_readme_have_the_settings(tmp_path, capsys):
    main(["bundles", f"--output_dir={tmp_path}", f"--name={ENET},{TEACHER}", *TRY])
    assert capsys.readouterr().out == f"Written: {tmp_path / ENET}, {tmp_path / TEACHER}\n"
    for root in (tmp_path / ENET, tmp_path / TEACHER):
        train = config(root, "train")
        assert [train[name] for name in ("epochs", "batch_size", "samples_per_epoch")] == [2, 4, 48]
        assert train["spatial_size"] == config(root, "inference")["spatial_size"] == [64, 96]
        formats = config(root, "metadata")["network_data_format"]
        assert formats["inputs"]["image"]["spatial_shape"] == formats["outputs"]["pred"]["spatial_shape"] == [64, 96]
        readme = (root / "docs" / "README.md").read_text()
        assert "slices of 64 x 96" in readme
        assert '--input_shape "[1, 1, 64, 96]"' in readme
        assert [problem for problem in find_problems(root) if problem.severity == "error"] == []


def test_a_changed_network_is_built_and_the_readme_states_no_cost_of_another(tmp_path):
    features = [4, 4, 8, 8, 8]
    (root,) = write_bundles(tmp_path, name=TEACHER, **{"network_def#features": features})
    assert config(root, "inference")["network_def"]["features"] == features
    usual = build_network(write_bundles(tmp_path / "usual", name=TEACHER)[0])
    assert sum(w.numel() for w in build_network(root).parameters()) < sum(w.numel() for w in usual.parameters())
    assert "parameters" not in (root / "docs" / "README.md").read_text().split("## Data")[0]


def test_the_same_settings_keep_a_folder_and_others_are_refused(tmp_path, capsys):
    assert write_bundles(tmp_path, name=ENET, epochs=2) == [tmp_path / ENET]
    assert write_bundles(tmp_path, name=ENET, epochs=2) == []
    for other in (["--epochs=3"], []):
        line = fails_with(capsys, "bundles", f"--output_dir={tmp_path}", f"--name={ENET}", *other)
        assert "configs/train.json' first; choose another --output_dir" in line
    assert config(tmp_path / ENET, "train")["epochs"] == 2


@pytest.mark.fault(
    "Wrong input",
    "`bundles` with a setting that is none",
    injected="an unknown id, a value out of range, settings without a folder",
    outcome="exit code 2, one line; no bundle is written",
)
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epoch=2"], "unknown config id 'epoch'. Did you mean 'epochs'"),
        (["--batch_size=0"], "batch_size must be an integer of at least 1, got 0"),
        (["--network_def#width=2"], "unknown config id 'network_def#width'"),
    ],
)
def test_a_setting_that_is_none_is_refused(tmp_path, capsys, flags, message):
    assert message in fails_with(capsys, "bundles", f"--output_dir={tmp_path}", f"--name={ENET}", *flags)
    assert list(tmp_path.iterdir()) == []
    assert "give --output_dir" in fails_with(capsys, "bundles", "--epochs=2")
