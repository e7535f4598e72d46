# SPDX-License-Identifier: Apache-2.0
"""Flags and values that are wrong, and weights that are none: one line, before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundle_tools import FEATURES
from cli_tools import distil, fails_with, make_pair, write_case

from akd_monai.__main__ import main
from akd_monai.networks.nets import UNetPlusPlus


@pytest.fixture
def bundles(tmp_path):
    return make_pair(tmp_path)


def _whole_network(path):
    torch.save(torch.nn.Conv2d(1, 1, 1), path)


def _with_numpy(path):
    torch.save({"weight": torch.ones(1), "dice": np.float64(0.8)}, path)


def _torch_script(path):
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(path)


def _cut(path):
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), path)
    path.write_bytes(path.read_bytes()[:9000])


NO_WEIGHTS = [
    (_whole_network, "save them again by torch.save(network.state_dict(), path)."),
    (_with_numpy, "save them again by torch.save(network.state_dict(), path)."),
    (_torch_script, "load it by torch.jit.load in a program of your own and save them again by"),
    (_cut, "it is damaged or not of PyTorch; restore it from a copy."),
    (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"), "git lfs pull."),
    (lambda path: path.write_text("<!DOCTYPE html>\n<html>Sign in</html>"), "download the file itself."),
    (lambda path: path.write_bytes(b""), "it is empty; restore it from a copy."),
]


@pytest.mark.fault(
    "Wrong input",
    "`--teacher_weights` is no file of weights",
    injected="a pickled network, NumPy inside, TorchScript, a file cut short, a Git LFS pointer, a web page, an empty file",
    outcome="exit code 2, one line with the remedy, without PyTorch's advice to run its code",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("make", "remedy"), NO_WEIGHTS)
def test_teacher_weights_that_are_none_end_in_one_line(bundles, capsys, tmp_path, make, remedy):
    make(tmp_path / "weights.pt")
    line = fails_with(capsys, *distil(bundles, f"--teacher_weights={tmp_path / 'weights.pt'}"))
    assert remedy in line
    assert "weights_only" not in line
    assert "\x1b" not in line


@pytest.mark.fault(
    "Wrong input",
    "a flag with a typing slip",
    injected="`--sitess`, `--chek`, a missing flag and more",
    outcome="one line with what was meant, before anything is written",
)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("phantom --output_dir {out} --sitess HK", "unknown flag '--sitess' of phantom. Did you mean '--sites'"),
        ("prepare --source six-site --input_dir . --output_dir {out} --flip_label x", "Did you mean '--flip_labels'"),
        ("verify --dataset_dir . --output_dir {out} --lable_values 0", "Did you mean '--label_values'"),
        ("assemble --bundles_dir {out} --chek", "unknown flag '--chek' of assemble. Did you mean '--check'"),
        ("phantom --size 32", "phantom needs --output_dir"),
        ("new_bundle --name x", "new_bundle needs --network"),
    ],
)
def test_a_mistyped_or_missing_flag_is_one_line_before_anything_is_written(line, message, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        main(line.format(out=out).split())
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


@pytest.mark.fault(
    "Wrong input",
    "a flag with a value of another kind",
    injected="`verify --fix maybe`, `demo --epochs two` and more",
    outcome="one line, before anything is written",
)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("verify --dataset_dir . --output_dir {out} --fix maybe", "--fix must be True or False, got 'maybe'."),
        ("verify --dataset_dir . --output_dir {out} --workers=two", "--workers must be an integer, got 'two'."),
        ("assemble --bundles_dir {out} --check=maybe", "--check must be True or False, got 'maybe'."),
        ("demo --output_dir {out} --epochs two", "--epochs must be an integer, got 'two'."),
        ("demo --output_dir {out} --learning_rate fast", "--learning_rate must be a number, got 'fast'."),
        ("demo --output_dir {out} --seed 1.5", "--seed must be an integer, got 1.5."),
        ("prepare --source folder --input_dir . --output_dir {out} --size big", "--size must be an integer, got 'big'."),
        ("phantom --output_dir {out} --size True", "--size must be an integer, got True."),
        ("label --studies {out} --port http", "--port must be an integer, got 'http'."),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_one_line_before_anything_is_written(line, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert fails_with(capsys, *line.format(out=out).split()) == f"akd_monai: {message}"
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--epochs=two", "epochs must be an integer of at least 1, got 'two'."),
        ("--device=gpu", "device must be a device of this machine (cpu"),
        ("--train#trainer#max_epoch=3", "unknown argument 'max_epoch' of train#trainer. Did you mean 'max_epochs'"),
        ("--tracking=nosuch.json", "nosuch.json: cannot be opened (No such file or directory); "),
    ],
)
def test_a_wrong_value_of_distill_is_one_line_before_anything_is_written(option, message, bundles, capsys):
    assert message in fails_with(capsys, *distil(bundles, option))
    assert not (bundles[1] / "eval").exists()


def test_null_is_none(bundles, capsys, monkeypatch):
    seen = {}

    def train(workflow):
        seen.update(workflow.parser.get())

    monkeypatch.setattr("akd_monai.bundle.DistillationWorkflow.train", train)
    main(distil(bundles, "--folds=null", "--sites=null"))
    assert seen["folds"] is None
    assert seen["sites"] is None


OUT_OF_RANGE = [
    ("verify --dataset_dir={data} --workers=-1", "workers must be an integer of at least 0, got -1."),
    (
        "prepare --source=folder --input_dir={data} --output_dir={out} --workers=-1",
        "workers must be an integer of at least",
    ),
    ("prepare --source=folder --input_dir={data} --output_dir={out} --size=0", "size must be at least 8 pixels, got 0"),
    ("phantom --output_dir={out} --workers=-1", "workers must be an integer of at least 0, got -1."),
    ("phantom --output_dir={out} --slices=0", "slices must be at least 4"),
    ("phantom --output_dir={out} --cases_per_site=0", "cases_per_site must be at least 1, got 0."),
    ("demo --output_dir={out} --epochs=0", "epochs must be at least 1, got 0."),
    ("demo --output_dir={out} --seed=-1", "seed must be an integer of at least 0, got -1."),
    ("demo --output_dir={out} --learning_rate=-1", "learning_rate must be a finite number above 0, got -1."),
    ("demo --output_dir={out} --lambda_gram=-1", "lambda_gram must be a finite number of at least 0, got -1."),
    ("demo --output_dir={out} --features=0,8,8,8,8", "features must be five widths, integers above 0, got [0, 8"),
    ("demo --output_dir={out} --features=a,8,8,8,8", "features must be five widths, integers above 0, got ['a'"),
    ("report --results=5", "results must be a path"),
    ("send --output_dir={out}", "does not exist; give the folder of a run."),
    ("profile {data} --threads=0", "threads must be an integer of 1 or more, got 0."),
]


@pytest.mark.fault(
    "Wrong input",
    "flags of verbs out of range",
    injected="`--workers -1`, `--epochs 0`, `--seed -1`, `--slices 0` and 11 more",
    outcome="exit code 2, one line, nothing is written",
)
@pytest.mark.parametrize(("line", "message"), OUT_OF_RANGE)
def test_a_flag_out_of_range_is_one_line_before_anything_is_written(line, message, tmp_path, capsys):
    write_case(tmp_path / "data", "I2CVB", "Case00")
    out = tmp_path / "out"
    words = line.format(out=out, data=tmp_path / "data").split()
    assert message in fails_with(capsys, *words)
    assert not out.exists()
