# SPDX-License-Identifier: Apache-2.0
"""Steps, feeding and evaluation at full width, and the hours that follow from them; no test measures time."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

import pytest

from akd_monai.prostate.phantom import make_phantom

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from akd_monai.experiments._plan.matrix import read_matrix  # noqa: E402
from benchmarks import full_width, full_width_page, hours, volumes  # noqa: E402

STEP = {"ms": 100.0}
MEASURED = {
    "steps": {"UNet++": {"ms": 1000.0}, "ENet": STEP, "ENet from UNet++, online": {"ms": 300.0}},
    "feeding": {"0": {"batch_ms": 50.0}},
    "evaluation": {"UNet++": {"validation": 2.0, "test": 3.0}, "ENet": {"validation": 0.5, "test": 4.0}},
}


def test_the_median_of_the_timed_steps_counts_and_the_warm_up_does_not(monkeypatch):
    calls = count()
    seconds = iter([0.5, 0.1, 0.3])
    monkeypatch.setattr(full_width, "timed", lambda work, device: (work(), next(seconds))[1])
    found = full_width.measure(lambda: lambda: next(calls), "cpu", until=0.0)
    assert found == {"ms": 300.0, "low": 100.0, "high": 500.0, "steps": 3, "peak_bytes": None}
    assert next(calls) == full_width.WARM_UP + 3


def test_what_does_not_run_says_why_and_is_written(tmp_path, capsys):
    def broken():
        raise MemoryError("no room\nfor it")

    result = {"steps": {}}
    full_width._add(result, "steps", "UNet++", broken, tmp_path / "a" / "full.json")
    assert json.loads((tmp_path / "a" / "full.json").read_text()) == {
        "steps": {"UNet++": {"error": "MemoryError: no room for it"}}
    }
    assert "steps: UNet++" in capsys.readouterr().out


def test_every_kind_of_step_of_the_tables_is_there(tmp_path):
    asked = full_width.arguments(["--device", "cpu", "--size", "32", "--batch", "2"])
    names = [name for name, _ in full_width.steps(asked, tmp_path)]
    assert len(names) == len(set(names)) == 2 + 3 + 2 * 3 * 2
    assert {"UNet++", "ENet", "ERFNet from DeepLabV3+, online", "ESPNet from UNet++, cached"} <= set(names)


def test_a_missing_folder_is_one_line(capsys):
    with pytest.raises(SystemExit):
        full_width.arguments(["--device", "cpu", "--dataset_dir", "nowhere"])
    assert "--dataset_dir: there is no folder 'nowhere'." in capsys.readouterr().err


def test_feeding_and_evaluation_run_by_the_configs_of_the_bundles(tmp_path):
    data = make_phantom(tmp_path / "data", cases_per_site=2, sites="HK,BMC", size=32, slices=8, progress=False)
    changed = {"dataset_dir": str(data), "spatial_size": [32, 32], "device": "cpu"}
    found = volumes.evaluation_seconds("ENet", tmp_path / "enet", changed)
    assert found["cases"] == ["BMC/Case00", "BMC/Case01", "HK/Case00"]
    assert min(found["validation"], found["test"]) > 0
    masks = sorted(path.name for path in (tmp_path / "enet" / "eval").rglob("*_pred.nii.gz"))
    assert masks == ["Case00_pred.nii.gz", "Case00_pred.nii.gz", "Case01_pred.nii.gz"]
    feeding = volumes.feeding_seconds(tmp_path / "feeding", {**changed, "batch_size": 2, "num_workers": 0})
    assert set(feeding) == {"volume_seconds", "batch_ms"}


def test_hours_of_an_experiment_worked_out_by_hand(tmp_path, monkeypatch):
    # HK has 12 cases, RUNMC 30. Fold 0 of 4 tests 3 of HK, 2 are validation, 7 training; a teacher at RUNMC keeps
    # 4 for validation (15 % of 30, rounded) and trains on 26.
    monkeypatch.setattr(hours, "kept_slices", lambda case_id, ratio: 8)
    file = tmp_path / "small.json"
    content = {
        "dataset_dir": ".",
        "sites": ["RUNMC", "HK"],
        "targets": ["HK"],
        "run_folds": [0],
        "teachers": ["unetplusplus"],
        "students": ["enet"],
        "settings": {"epochs": 10, "batch_size": 4},
    }
    file.write_text(json.dumps(content))
    found = hours.hours(read_matrix(file), MEASURED)
    taught = 10 * (26 * 8 // 4)
    learnt = 10 * (7 * 8 // 4)
    assert found["cells"] == 6
    assert found["iterations"] == taught + 2 * learnt
    teacher = taught * 1.0 + 10 * 4 * 2.0
    students = learnt * (0.1 + 0.3) + 2 * 10 * 2 * 0.5
    tests = 3 * (3.0 + 2 * 4.0)
    assert found["teachers"] == pytest.approx(teacher / 3600)
    assert found["students"] == pytest.approx(students / 3600)
    assert found["tests"] == pytest.approx(tests / 3600)
    assert found["fed beside"] == pytest.approx((teacher + students + tests) / 3600)
    fed = found["fed in the process"] - found["fed beside"]
    assert fed == pytest.approx((taught + 2 * learnt) * 0.05 / 3600)


def test_slices_without_gland_are_a_share_of_those_with():
    # one of the synthetic scans of HK: 20 slices, and a quarter as many without gland as with
    with_gland = hours.kept_slices("HK/Case00", 0.0)
    assert 0 < with_gland < 20
    assert hours.kept_slices("HK/Case00", 0.25) == with_gland + round(0.25 * with_gland)
    assert hours.kept_slices("HK/Case00", 100.0) == 20


def test_experiments_of_the_package_go_by_name(tmp_path, capsys):
    pairs = [f"{student} from {teacher}, online" for student in full_width.STUDENTS for teacher in full_width.TEACHERS]
    names = [*full_width.STUDENTS, *full_width.TEACHERS]
    measured = {
        "steps": dict.fromkeys([*names, *pairs], STEP),
        "feeding": {"0": {"batch_ms": 0.0}},
        "evaluation": {name: {"validation": 0.0, "test": 0.0} for name in names},
    }
    (tmp_path / "full.json").write_text(json.dumps(measured))
    assert hours.main([str(tmp_path / "full.json"), "table2"]) == 0
    row = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    # every step takes 0.1 s and nothing else takes time
    assert row[0] == "table2"
    assert float(row[6]) == float(row[7]) == pytest.approx(int(row[2]) * 0.1 / 3600, rel=5e-3)


def test_the_page_holds_what_was_measured_and_says_what_was_not():
    timed = {"ms": 123.4, "low": 120.0, "high": 130.0, "steps": 30, "peak_bytes": 3 * 2**29}
    measured = {
        "size": 384,
        "batch": 16,
        "device": "cuda",
        "machine": {"gpu": "A card", "torch": "2.0"},
        "steps": {"ENet": timed, "UNet++": {"error": "OutOfMemoryError: no room"}},
        "evaluation": {"ENet": {"cases": ["HK/Case00"], "validation": 0.25, "test": 1.5}},
        "feeding": {"0": {"volume_seconds": 0.5, "batch_ms": 40.0}, "8": {"volume_seconds": 0.4, "batch_ms": 6.0}},
        "not_measured": ["ENet from UNet++, cached"],
    }
    text = full_width_page.page(measured, [])
    assert "384 x 384 in batches of 16" in text
    assert "**synthetic**" in text
    assert "Measured on: gpu A card, torch 2.0." in text
    assert "| ENet | 123 | 120 to 130 | 30 | 1.50 |" in text
    assert "| ENet | 0.25 | 1.5 |" in text
    assert "Cases: HK/Case00." in text
    assert "| 8 | 6 |" in text
    assert "once a run, took 0.4 s" in text
    assert text.endswith(
        "Not measured:\n\n- steps, UNet++: OutOfMemoryError: no room\n- ENet from UNet++, cached: the time was over\n"
    )


def test_an_experiment_with_steps_that_were_not_measured_has_no_hours():
    measured = {**MEASURED, "evaluation": {}}
    assert "| table2: DeepLabV3+ was not measured |  |" in hours.hours_table(["table2"], measured)
