# SPDX-License-Identifier: Apache-2.0
"""Costs from a volume to its mask are complete, and taken in a process that loads nothing else."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from deploy_tools import bright_box, write_model

from akd_monai.__main__ import main
from akd_monai.deploy import _stages as stages_module
from akd_monai.deploy import profile_segmentation
from akd_monai.deploy._engines import Network
from akd_monai.deploy._stages import measured_stages
from akd_monai.errors import InputError

STEPS = ("reading", "preparing", "network", "finishing", "writing")


def test_each_second_is_counted_once(tmp_path, monkeypatch):
    bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx")
    now = [100.0]
    # a clock that moves when the network works, and nowhere else
    monkeypatch.setattr(stages_module.time, "process_time", lambda: now[0])
    opened = stages_module.open_model(model, engine="onnxruntime")

    def slow(batch):
        now[0] += 0.25
        return opened.network.run(batch)

    slowed = type(opened)(opened.name, opened.recipe, Network("slow 1", slow))
    monkeypatch.setattr(stages_module, "open_model", lambda *_, **__: slowed)
    found = measured_stages(model, tmp_path / "t2.nii.gz", tmp_path / "mask.nii.gz", repeats=2)
    assert found.start == 100.0
    # six slices
    assert {step: getattr(found, step) for step in STEPS} == {**dict.fromkeys(STEPS, 0.0), "network": 1.5}
    assert found.volume == 1.5
    assert (tmp_path / "mask.nii.gz").is_file()


@pytest.mark.parametrize("status", ["VmPeak: 9 kB\nVmHWM:   20000 kB\n", "VmPeak: 9 kB\n"], ids=["with", "without"])
def test_memory_where_the_kernel_does_not_tell_the_most(status, tmp_path, monkeypatch):
    (tmp_path / "status").write_text(status)
    monkeypatch.setattr(stages_module, "Path", lambda _: tmp_path / "status")
    found = stages_module._peak_mb()
    assert found == 20.48 if "VmHWM" in status else found > 20


def test_table_and_json_of_two_engines(tmp_path, capsys):
    bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx")
    target = tmp_path / "costs.json"
    begun = time.perf_counter()
    main(["profile", str(model), "--end_to_end", f"--volume={tmp_path / 't2.nii.gz'}", f"--output_file={target}"])
    took = time.perf_counter() - begun
    head, _, *rows = capsys.readouterr().out.strip().splitlines()[:4]
    assert [cell.strip() for cell in head.strip("|").split("|")][:3] == ["bundle", "engine", "start"]
    assert "m.onnx" in rows[0]
    assert "fp32" in rows[0]
    profiles = json.loads(target.read_text())["profiles"]
    assert len(profiles) == len({profile["engine"] for profile in profiles})
    for profile in profiles:
        np.testing.assert_allclose(profile["volume"], sum(profile[step] for step in STEPS))
        assert 0 < profile["volume"] < took
        assert 20 < profile["start_mb"] <= profile["peak_mb"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.onnx", "--end_to_end", "--size=16"], "--size is not for --end_to_end; leave one of them out."),
        (["m.onnx", "--volume=t2.nii.gz"], "--volume needs --end_to_end; add it."),
        (["m.onnx", "--end_to_end", "--repeats=0"], "repeats must be an integer of 1 or more, got 0."),
        (
            ["m.onnx", "--end_to_end", "--engines=tensorrt"],
            "engine must be one of 'auto', 'onnxruntime', 'openvino', 'torch'",
        ),
        (
            ["empty", "--end_to_end"],
            "empty: has neither an exported network that an installed engine runs, nor weights",
        ),
        (["m.onnx", "--end_to_end", "--volume=none.nii.gz"], "none.nii.gz: cannot be opened"),
    ],
    ids=str,
)
def test_mistakes(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["profile", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_nothing_to_profile():
    with pytest.raises(InputError, match="there is nothing to profile; give a bundle"):
        profile_segmentation([])
