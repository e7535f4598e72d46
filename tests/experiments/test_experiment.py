# SPDX-License-Identifier: Apache-2.0
"""The experiment around its engine: what is written, what is listed, what a second call does."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path

import pytest

from akd_monai.__main__ import main
from akd_monai.errors import InputError
from akd_monai.experiments import _pages as pages
from akd_monai.experiments import _run, experiment_cells, experiment_estimate, experiment_table, run_experiment
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.files import write_json

MATRIX = {
    "dataset_dir": "data",
    "sites": ["RUNMC", "HK"],
    "targets": ["HK"],
    "folds": 2,
    "run_folds": [0],
    "teachers": {"light": {"bundle": "unetplusplus", "settings": {"network_def#features": [4, 4, 8, 8, 8]}}},
    "students": ["enet"],
    "settings": {"epochs": 3, "spatial_size": [32, 32]},
}
# teacher, zero-shot; plain student and distilled one, each trained and tested
COUNT = 6
# of each site
CASES = 4


@pytest.fixture
def file(tmp_path):
    for site in MATRIX["sites"]:
        for number in range(CASES):
            for suffix in ("", "_segmentation"):
                path = tmp_path / "data" / site / f"Case{number:02}{suffix}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    return write_json(tmp_path / "small.json", MATRIX)


@pytest.fixture
def ran(monkeypatch):
    """Write the results of cells in place of running them; return the names of what was run."""
    names = []

    def run_cells(cells, folder, report, *, devices, machine):
        for cell in cells:
            write_json(cell.record, cell.identity())
            write_json(cell.result, {"cell": cell.name})
            names.append(cell.name)
            report(cell, 1.0)
        return {}

    monkeypatch.setattr(_run, "run_cells", run_cells)
    monkeypatch.setattr(_run, "warm_process", lambda *_: contextlib.nullcontext())
    # results that hold no figure make no table
    monkeypatch.setattr(pages, "write_study_report", lambda folder: folder / "report" / "index.html")
    return names


def test_every_cell_is_run_once_and_a_second_call_runs_nothing(file, ran, capsys):
    assert run_experiment(file) == file.with_suffix("")
    assert len(ran) == len(set(ran)) == COUNT
    run_experiment(file)
    assert len(ran) == COUNT
    shown = capsys.readouterr().out
    assert "0 of 6 cells were done before" in shown
    assert "[6/6] test/HK/fold-0/student-enet/distilled/light/seed-0: done in 1 s\n" in shown
    assert "6 of 6 cells were done before" in shown


def test_only_what_is_chosen_and_needed_is_run_and_the_table_says_so(file, ran):
    run_experiment(file, only=["*/teacher_zero_shot/*"])
    assert ran == ["train/HK/teacher-light/sources/seed-0", "test/HK/fold-0/teacher-light/teacher_zero_shot/seed-0"]
    table = experiment_table(file)
    assert len(table) == COUNT
    assert [name for name, done in table if done] == ran


def test_the_bundles_hold_the_settings_of_the_experiment(file, ran):
    folder = run_experiment(file)
    teacher = json.loads((folder / "bundles" / "teacher-light" / "configs" / "train.json").read_text())
    student = json.loads((folder / "bundles" / "student-enet" / "configs" / "train.json").read_text())
    assert teacher["network_def"]["features"] == [4, 4, 8, 8, 8]
    assert (teacher["epochs"], student["epochs"], student["spatial_size"]) == (3, 3, [32, 32])
    metadata = json.loads((folder / "bundles" / "student-enet" / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [32, 32]


def test_bundles_that_cells_may_be_reading_are_not_written_again(file, ran):
    folder = run_experiment(file, only=["*/teacher_zero_shot/*"])
    config = folder / "bundles" / "teacher-light" / "configs" / "train.json"
    before = config.stat().st_mtime_ns
    run_experiment(file)
    assert config.stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused(file, ran):
    run_experiment(file)
    write_json(file, {**MATRIX, "settings": {**MATRIX["settings"], "epochs": 4}})
    with pytest.raises(InputError, match=r"cell train/HK/teacher-light/.* was run with another epochs"):
        run_experiment(file)
    # what is added beside the cells that are done is no other experiment
    write_json(file, {**MATRIX, "methods": {"distilled": {}, "gram": {"terms": ["gram"]}}})
    run_experiment(file)
    assert len(ran) == COUNT + 2


def test_the_file_in_the_folder_is_the_same_experiment(file, ran):
    folder = run_experiment(file)
    assert read_matrix(folder / "experiment.json") == read_matrix(file)


def test_another_number_of_threads_is_refused_for_the_rest_of_the_cells(file, ran, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run_experiment(file, only=["*/teacher_zero_shot/*"])
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(InputError, match=r"run with OMP_NUM_THREADS=1, and this is OMP_NUM_THREADS=2, .* last bits"):
        run_experiment(file)
    # what is done can be listed and shown all the same
    assert sum(done for _, done in experiment_table(file)) == 2
    assert "OMP_NUM_THREADS=2 python" in experiment_cells(file)[0]


def test_the_list_can_be_run_by_a_shell(file):
    lines = experiment_cells(file, only=["train/*"])
    assert len(lines) == 3
    words = shlex.split(lines[0].strip("()"))
    assert words[0] == "cd"
    assert (Path(words[1]) / "configs" / "train.json").is_file()
    assert words[2:9] == ["&&", "OMP_NUM_THREADS=1", "python", "-m", "monai.bundle", "run", "--config_file"]
    assert "--sites=['RUNMC']" in words


def test_a_dry_run_writes_nothing(file, capsys):
    main(["experiment", str(file), "--dry_run"])
    shown = capsys.readouterr().out
    assert shown.count("to do ") == COUNT
    assert "0 of 6 cells are done; there is no estimate" in shown
    assert not file.with_suffix("").exists()


def test_a_failed_cell_ends_the_command_with_code_1(file, monkeypatch, capsys):
    monkeypatch.setattr(_run, "run_cells", lambda cells, *_, **__: {cells[0].name: RuntimeError("no memory")})
    monkeypatch.setattr(_run, "warm_process", lambda *_: contextlib.nullcontext())
    with pytest.raises(SystemExit) as ending:
        run_experiment(file)
    assert ending.value.code == 1
    assert "1 cells failed" in capsys.readouterr().out


MISTAKES = {
    "jobs": ({"jobs": 0}, "jobs must be an integer of at least 1, got 0"),
    "no such GPU": ({"gpus": ["97"]}, "this machine has no GPU 97: .*; leave gpus out to run on the CPU"),
    "gpus and machine": ({"gpus": ["0"], "machine": "slurm.json"}, "gpus are of this machine"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_before_anything_is_written(file, options, message):
    with pytest.raises(InputError, match=message):
        run_experiment(file, **options)
    assert not file.with_suffix("").exists()


def remove_cases(file, site, left):
    for path in (file.parent / "data" / site).iterdir():
        if int(path.name[4:6]) >= left:
            path.unlink()


SPLITS = {
    "folds": (
        3,
        {"folds": 4},
        r"experiment 'small': target HK has 3 cases, which cannot be split into 4 folds; set folds to 3 or",
    ),
    "one case": (1, {}, r"site HK has one case \(HK/Case00\)"),
    "folds of a teacher": (
        4,
        {"teachers": {"unetplusplus": {"settings": {"folds": 4}}}, "sites": ["RUNMC", "HK"]},
        r"site RUNMC has one case",
    ),
}


@pytest.mark.parametrize(("left", "changes", "message"), SPLITS.values(), ids=SPLITS)
def test_data_that_cannot_be_split_are_said_before_anything_is_written(file, left, changes, message):
    remove_cases(file, "HK", left)
    if "teachers" in changes:
        remove_cases(file, "RUNMC", 1)
    write_json(file, {**MATRIX, **changes})
    with pytest.raises(InputError, match=message):
        run_experiment(file)
    assert not file.with_suffix("").exists()


def test_a_target_without_validation_cases_is_said(file, ran, capsys):
    remove_cases(file, "HK", 3)
    write_json(file, {**MATRIX, "folds": 3})
    run_experiment(file, only=["*/teacher_zero_shot/*"])
    shown = capsys.readouterr().out
    assert "Target HK has 3 cases and spares none for validation: its training cases (2 in fold 0) serve as" in shown


def test_a_complete_experiment_has_a_report_and_another_says_what_is_missing(file, ran, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(pages, "write_study_report", lambda folder: written.append(folder) or folder / "index.html")
    run_experiment(file, only=["*/teacher_zero_shot/*"])
    assert written == []
    missing = "No report yet: 4 of 6 cells of the experiment are missing (train/HK/fold-0/student-enet/without/seed-0, "
    assert missing in capsys.readouterr().out
    folder = run_experiment(file)
    assert written == [folder]


def test_a_report_that_fails_undoes_nothing(file, ran, monkeypatch, caplog):
    monkeypatch.setattr(pages, "write_study_report", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_experiment(file)
    assert "The report could not be written (division by zero)" in caplog.text
    assert all(done for _, done in experiment_table(file))


def test_a_dry_run_estimates_from_the_cells_that_are_done(file, ran):
    nothing = "0 of 6 cells are done; there is no estimate of time, memory and disk before the first ones are"
    assert experiment_estimate(file) == nothing
    folder = run_experiment(file, only=["*/teacher_zero_shot/*"])
    used = {"seconds": 600.0, "peak_memory_bytes": 10**9, "disk_bytes": 10**6, "starts": 1}
    write_json(folder / "cells" / ran[0] / "result.json", {**used, "cell": ran[0]})
    write_json(
        folder / "cells" / ran[1] / "result.json", {**used, "cell": ran[1], "seconds": 60.0, "peak_memory_bytes": 10**8}
    )
    # left: a training (600 s) and a distillation (mean of the two kinds, 330 s), each with a test (60 s)
    assert experiment_estimate(file) == (
        "2 of 6 cells are done; by their measure, the rest takes about 18 min with 1 at a time, "
        "up to 1.0 GB of memory at once, 4.0 MB of disk"
    )
    # at two places no sooner than the longer chain, 660 s; the two largest at once: 1000 MB and 550 MB
    assert "about 11 min with 2 at a time, up to 1.6 GB of memory" in experiment_estimate(file, jobs=2)


def test_data_that_are_not_there_are_said_before_anything_is_written(file):
    write_json(file, {**MATRIX, "dataset_dir": "elsewhere"})
    with pytest.raises(InputError, match="elsewhere"):
        run_experiment(file)
    assert not file.with_suffix("").exists()


def test_a_list_with_other_settings_changes_no_bundle_of_a_folder_with_cells(file, ran):
    folder = run_experiment(file)
    config = folder / "bundles" / "student-enet" / "configs" / "train.json"
    before = config.read_bytes()
    write_json(file, {**MATRIX, "settings": {**MATRIX["settings"], "epochs": 4}})
    with pytest.raises(InputError, match="was run with another epochs"):
        experiment_cells(file)
    assert config.read_bytes() == before


def test_a_refused_report_is_said_as_the_last_word(file, ran, monkeypatch):
    def refuse(_):
        raise InputError("cells of different data")

    monkeypatch.setattr(pages, "write_study_report", refuse)
    with pytest.raises(InputError, match="cells of different data"):
        run_experiment(file)
    assert all(done for _, done in experiment_table(file))
