# SPDX-License-Identifier: Apache-2.0
"""A lower precision is written where it keeps masks, saves time and is really computed; else both figures are told."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from deploy_tools import AS_IT_IS, bright_box, write_model

from akd_monai.deploy import _trial_process, export_reduced, segment
from akd_monai.deploy import reduced as reduced_module
from akd_monai.deploy._engines import Network, installed_engines, open_onnx
from akd_monai.errors import BundleError, InputError


@pytest.fixture
def bundle(tmp_path):
    root = tmp_path / "by_hand"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}")
    # its first channel answers to the dark, the second one to the bright
    write_model(root / "models" / "model.onnx", weights=(-2.0, 4.0), biases=(1.0, -1.0), **AS_IT_IS)
    return root


@pytest.fixture
def cases(tmp_path):
    for number in range(4):
        bright_box(tmp_path / "cases" / f"Case{number:02}.nii.gz", shape=(16, 16, 4), box=((2, 9), (3, 12), (1, 3)))
    return tmp_path / "cases"


def with_times(monkeypatch, plain, lower):
    monkeypatch.setattr(reduced_module, "_cpu_ms", lambda *_: {"plain": plain, "lower": lower})


def test_int8_that_is_a_gain_is_written_and_used(bundle, cases, tmp_path, monkeypatch):
    with_times(monkeypatch, 10.0, 4.0)
    done = export_reduced(bundle, "int8", dataset_dir=cases, calibration_cases=2)
    assert done.file == bundle / "models" / "model-int8.onnx"
    report = json.loads(done.report.read_text())
    assert (report["calibration_cases"], report["held_out_cases"]) == (
        ["Case00.nii.gz", "Case01.nii.gz"],
        ["Case02.nii.gz", "Case03.nii.gz"],
    )
    gains = [trial for trial in done.trials if trial.is_gain]
    assert report["engines"] == [trial.engine.split()[0] for trial in gains]
    assert gains
    for trial in gains:
        assert (trial.dice, trial.cpu_ms, trial.fp32_cpu_ms) == (1.0, 4.0, 10.0)
        assert "int8" in trial.ran
    (found,) = segment(cases / "Case03.nii.gz", tmp_path / "out", model=done.file)
    assert found.figures["prostate"]["voxels"] == 7 * 9 * 2


def test_without_gain_both_figures_are_told_and_nothing_is_written(bundle, cases, monkeypatch):
    with_times(monkeypatch, 10.0, 10.5)
    with pytest.raises(BundleError, match=r"Dice 1\.0000 to fp32, 10\.5 ms an input against 10\.0 in fp32") as caught:
        export_reduced(bundle, "int8", dataset_dir=cases)
    assert "at least 0.995 and less time are wanted" in str(caught.value)
    assert [path.name for path in (bundle / "models").iterdir()] == ["model.onnx"]


def test_an_engine_that_crashes_is_named_and_not_tried(bundle, cases, monkeypatch, caplog):
    """As OpenVINO does with some quantised networks: the trial is lost, and this process is not."""
    with_times(monkeypatch, 10.0, 4.0)
    kill = "import os; os.kill(os.getpid(), 11)"
    monkeypatch.setattr(_trial_process, "_PROGRAM", kill)
    with pytest.raises(BundleError, match=r"int8 of bundle .* was not written: no engine that is installed opens it; "):
        export_reduced(bundle, "int8", dataset_dir=cases, calibration_cases=2)
    wanted = [f"{name} crashes when it opens this network in int8, and is not tried." for name in installed_engines()]
    assert [message for message in caplog.messages if "crashes" in message] == wanted
    assert not (bundle / "models" / "model-int8.onnx").exists()
    # an error that is raised is no crash
    monkeypatch.setattr(_trial_process, "_PROGRAM", "raise ValueError")
    assert _trial_process.opens_in_fresh_process(cases, "onnxruntime", "int8")


def test_masks_that_differ_are_refused(bundle, cases, monkeypatch):
    with_times(monkeypatch, 10.0, 1.0)
    opened = open_onnx

    def with_an_error(path, *arguments, **options):
        network = opened(path, *arguments, **options)
        if path.name == "model.onnx":
            return network
        # the whole field is marked
        return Network(network.engine, lambda batch: network.run(0 * batch + 9), network.precision)

    monkeypatch.setattr(reduced_module, "open_onnx", with_an_error)
    # 126 voxels are marked of 1024
    dice = 2 * 126 / (126 + 1024)
    with pytest.raises(BundleError, match=re.escape(f"Dice {dice:.4f} to fp32, 1.0 ms an input against 10.0")):
        export_reduced(bundle, "int8", dataset_dir=cases)


def test_an_engine_that_silently_computes_in_single_precision_is_no_gain(bundle, cases, monkeypatch):
    with_times(monkeypatch, 10.0, 1.0)
    monkeypatch.setattr(reduced_module, "installed_engines", lambda: ["onnxruntime"])
    # on a CPU, ONNX Runtime converts to single precision and back
    with pytest.raises(
        BundleError, match=r"fp16 of bundle .* was not written: onnxruntime [\d.]+ computes in fp32: Dice 1"
    ):
        export_reduced(bundle, "fp16", dataset_dir=cases)


def test_the_engine_is_one_of_those_that_were_found_good(tmp_path):
    for engines in (["onnxruntime"], ["openvino"]):
        model = write_model(tmp_path / "m.onnx", precision='"int8"', engines=json.dumps(engines))
        (other,) = {"onnxruntime", "openvino"} - set(engines)
        bright_box(tmp_path / "t2.nii.gz")
        with pytest.raises(InputError, match=f"keeps masks and saves time in {engines[0]} alone, not in {other}"):
            segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model, engine=other)


def test_segment_says_in_which_precision_it_computes_and_warns_of_a_higher_one(tmp_path, caplog):
    # a network in single precision that claims another one
    model = write_model(tmp_path / "m.onnx", precision='"fp16"', engines='["onnxruntime"]')
    bright_box(tmp_path / "t2.nii.gz")
    with caplog.at_level("INFO"):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model)
    assert re.search(r"m.onnx: is for fp16, but onnxruntime [\d.]+ computes in fp32 on this processor", caplog.text)
    assert re.search(r"by_hand, onnxruntime [\d.]+, fp32", caplog.text)


def test_half_of_two_masks_overlaps():
    a = np.zeros((4, 4, 1), bool)
    a[:2] = True
    assert reduced_module._overlap(a, np.roll(a, 1, axis=0)) == 0.5
    assert reduced_module._overlap(~a & a, a) == 0
    assert np.isnan(reduced_module._overlap(~a & a, ~a & a))


def test_empty_masks_prove_nothing(bundle, cases, monkeypatch):
    with_times(monkeypatch, 10.0, 4.0)
    # neither network marks a voxel
    write_model(bundle / "models" / "model.onnx", weights=(-2.0, 4.0), biases=(99.0, -99.0), **AS_IT_IS)
    with pytest.raises(InputError, match=r"no mask of a held-out case marks anything, .*; give --dataset_dir cases of"):
        export_reduced(bundle, "int8", dataset_dir=cases, calibration_cases=2)
    assert not (bundle / "models" / "model-int8.onnx").exists()


def test_classes_that_neither_mask_has_do_not_lift_the_mean(bundle, cases, monkeypatch):
    two = '["background", "prostate", "lesion"]'
    write_model(
        bundle / "models" / "model.onnx", weights=(-2.0, 4.0, 0.0), biases=(1.0, -1.0, -9.0),
        **{**AS_IT_IS, "class_names": two},
    )  # fmt: skip
    halves = iter([0.5, np.nan] * 8)
    monkeypatch.setattr(reduced_module, "_overlap", lambda *_: next(halves))
    with_times(monkeypatch, 10.0, 4.0)
    with pytest.raises(BundleError, match=r"Dice 0\.5000 to fp32"):
        export_reduced(bundle, "int8", dataset_dir=cases, calibration_cases=2)


def test_an_earlier_file_that_stays_is_named(bundle, cases, monkeypatch):
    with_times(monkeypatch, 10.0, 10.5)
    (bundle / "models" / "model-int8.onnx").write_bytes(b"of another day")
    with pytest.raises(BundleError, match=r"less time are wanted\. An earlier model-int8\.onnx is still there\.$"):
        export_reduced(bundle, "int8", dataset_dir=cases)


def test_a_file_or_a_name_is_no_folder(bundle, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bundles").mkdir()
    bundle.rename(tmp_path / "bundles" / "by_hand")
    for given in ("by_hand", tmp_path / "bundles" / "by_hand" / "models" / "model.onnx"):
        with pytest.raises(
            InputError, match=r"by_hand.*' is no bundle's folder; give the folder, such as bundles/NAME"
        ):
            export_reduced(given, "int8", dataset_dir=cases)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision must be one of 'int8', 'bf16', 'fp16', got 'int4'"),
        ({"calibration_cases": 0}, "calibration_cases must be an integer of 1 or more, got 0"),
        ({"dataset_dir": "nowhere"}, "'nowhere' does not exist"),
    ],
    ids=str,
)
def test_mistakes(bundle, cases, options, message):
    given = {"precision": "int8", "dataset_dir": cases, **options}
    with pytest.raises(InputError, match=message):
        export_reduced(bundle, **given)


def test_one_case_alone_is_too_few(bundle, cases):
    for path in sorted(cases.iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="has no case beside those of the training"):
        export_reduced(bundle, "int8", dataset_dir=cases)
