# SPDX-License-Identifier: Apache-2.0
"""From a large bundle to light ones: what is planned, what is refused, and what the report says of it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import FEATURES, small_bundle

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments import compress_bundle
from akd_monai.experiments._compress.cells import plan_cells
from akd_monai.experiments._compress.found import Found, FoundRow, control_of
from akd_monai.experiments._compress.request import DEFAULT_RECIPE, Request, check_request
from akd_monai.experiments._compress.students import named_students
from akd_monai.experiments._compress.teaching import read_teaching
from akd_monai.experiments._compress.words import chosen_row, distillation_sentences, exchange_sentence
from akd_monai.experiments.compress import _command
from akd_monai.files import sha256_of
from akd_monai.networks.nets import UNetPlusPlus

CASES = 4


@pytest.fixture
def data(tmp_path):
    draw = np.random.default_rng(0)
    for site in ("HK", "BMC"):
        (tmp_path / "data" / site).mkdir(parents=True)
        for number in range(CASES):
            gland = np.zeros((32, 32, 3), np.uint8)
            gland[10:20, 10:20] = 1
            image = (100 * gland + draw.normal(100, 20, gland.shape)).astype(np.float32)
            base = tmp_path / "data" / site / f"Case{number:02}"
            nib.save(nib.Nifti1Image(image, np.eye(4)), f"{base}.nii.gz")
            nib.save(nib.Nifti1Image(gland, np.eye(4)), f"{base}_segmentation.nii.gz")
    return tmp_path / "data"


@pytest.fixture
def teacher(tmp_path):
    root = small_bundle("unetplusplus", tmp_path / "big")
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), root / "models" / "model.pt")
    return root


def request_for(teacher, data, **changes):
    return Request(teacher, teacher / "models" / "model.pt", data, **changes)


def learned(teacher, **facts):
    """Write what the teacher's training says of itself."""
    content = {"weights_sha256": sha256_of(teacher / "models" / "model.pt"), "spatial_size": [32, 32], **facts}
    (teacher / "eval").mkdir(exist_ok=True)
    (teacher / "eval" / "training.json").write_text(json.dumps(content))


def test_students_learn_where_the_teacher_did_not(teacher, data):
    learned(teacher, sites=["HK"], case_ids=["HK/Case00"], folds=None)
    teaching = read_teaching(request_for(teacher, data))
    assert teaching.split == {"sites": ["BMC"], "folds": 4, "fold": 0, "split_seed": 0}
    assert (teaching.sources, teaching.cautions) == (("HK",), ())
    # one of four cases is held out
    assert [Path(image).parent.name for image in teaching.test_images] == ["BMC"]


def test_at_its_own_sites_the_split_of_the_teacher_is_continued(teacher, data):
    learned(teacher, sites=["HK", "BMC"], case_ids=[], folds=2, fold=1, split_seed=3)
    teaching = read_teaching(request_for(teacher, data))
    assert teaching.split == {"sites": ["BMC", "HK"], "folds": 2, "fold": 1, "split_seed": 3}
    assert teaching.sources == ()
    assert len(teaching.test_images) == CASES


def test_test_cases_that_the_teacher_has_learned_from_are_refused_unless_that_is_said(teacher, data):
    every = [f"{site}/Case{number:02}" for site in ("HK", "BMC") for number in range(CASES)]
    learned(teacher, sites=["HK", "BMC"], case_ids=every, folds=None)
    with pytest.raises(InputError, match=r"has learned from 2 of 2 test cases \(.*--allow seen"):
        read_teaching(request_for(teacher, data))
    cautions = read_teaching(request_for(teacher, data, allow=("seen",))).cautions
    assert cautions == ("The teacher has learned from 2 of 2 test cases; its scores are too good.",)


def test_test_cases_that_chose_its_weights_are_said(teacher, data):
    every = [f"{site}/Case{number:02}" for site in ("HK", "BMC") for number in range(CASES)]
    learned(teacher, sites=["HK", "BMC"], case_ids=[], validation_case_ids=every, folds=None)
    (caution,) = read_teaching(request_for(teacher, data)).cautions
    assert caution == "2 of 2 test cases chose the teacher’s weights as validation cases."


@pytest.mark.parametrize("record", [None, "0" * 64])
def test_a_teacher_of_which_nothing_is_known_is_a_caution(teacher, data, record):
    if record is not None:
        learned(teacher, sites=["HK"], case_ids=["HK/Case00"], weights_sha256=record)
    teaching = read_teaching(request_for(teacher, data))
    assert teaching.split["sites"] == ["BMC", "HK"]
    (caution,) = teaching.cautions
    assert caution.endswith("it may have learned from cases on which it is tested here.")


def planned(teacher, data, folder, **changes):
    request = request_for(teacher, data, **changes)
    teaching = read_teaching(request)
    return plan_cells(request, teaching, named_students(request, teaching), folder)


def test_every_student_is_trained_tested_and_exported_and_all_are_measured_last(teacher, data, tmp_path):
    learned(teacher, sites=["HK"], case_ids=[], folds=None)
    rows, cells = planned(teacher, data, tmp_path / "out", students=("enet", "erfnet"), widths=(0.5, 1.0))
    names = ["enet-x0.5", "enet", "erfnet-x0.5", "erfnet"]
    hows = ["alone", "pretrained", "distilled"]
    assert [(row.network, row.how) for row in rows] == [
        ("teacher", "teacher"), *((name, how) for name in names for how in hows)
    ]  # fmt: skip
    # teacher: test, export; student: sources, and three times training, test, export; the measurement
    assert len(cells) == 2 + 4 * (1 + 3 * 3) + 1
    last = cells[-1]
    assert last.kind == "measure"
    # it runs alone: every cell that nothing else waits for comes before it
    assert set(last.needs) == {cell.name for cell in cells if cell.kind in ("test", "export")}
    assert [one.split("=")[1] for one in last.command if one.startswith("--model=")] == ["teacher", *names]
    assert dict(last.environment) == {"OMP_NUM_THREADS": "1"}


def test_a_distilled_student_starts_as_its_control_does(teacher, data, tmp_path):
    learned(teacher, sites=["HK"], case_ids=[], folds=None)
    _, cells = planned(teacher, data, tmp_path / "out", students=("enet",))
    by_name = {cell.name: cell for cell in cells}
    started = {}
    for how in ("alone", "pretrained", "distilled"):
        command = by_name[f"train/enet/{how}"].command
        started[how] = [one for one in command if one.startswith("--initial_weights=")]
    assert started["alone"] == []
    assert started["pretrained"] == started["distilled"]
    assert len(started["distilled"]) == 1
    sources = by_name["train/enet/sources"].command
    assert "--sites=['HK']" in sources
    assert "--folds=$None" in sources
    assert f"--recipe={DEFAULT_RECIPE}" in by_name["train/enet/distilled"].command


def test_a_recipe_of_ones_own_is_found_from_another_folder_and_gets_what_it_needs(teacher, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.json").write_text(json.dumps({"_needs_": {"margin": "how far"}, "epochs": 3}))
    _, cells = planned(
        teacher, data, tmp_path / "out", students=("enet",), recipe="own.json", settings={"margin": 2, "epochs": 1}
    )
    command = next(cell.command for cell in cells if cell.name == "train/enet/distilled")
    assert f"--recipe={tmp_path / 'own.json'}" in command
    # a setting of the bundle is no answer to a recipe, which asks the command
    assert "--margin=2" in command
    assert not any(one.startswith("--epochs") for one in command)


def test_other_weights_of_the_teacher_make_other_cells(teacher, data, tmp_path):
    _, before = planned(teacher, data, tmp_path / "out", students=("enet",))
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), teacher / "models" / "model.pt")
    _, after = planned(teacher, data, tmp_path / "out", students=("enet",))
    assert all(one.identity() != other.identity() for one, other in zip(before, after, strict=True))


def test_mistakes_are_one_line_each(teacher, data, tmp_path):
    known = {"students": ["enet"], "output_dir": tmp_path / "out"}
    with pytest.raises(UnknownNameError, match=r"unknown student 'enett'\. Did you mean 'enet'"):
        compress_bundle(teacher, data, **{**known, "students": ["enett"]})
    own = shutil.copytree(teacher, tmp_path / "others" / "teacher")
    with pytest.raises(InputError, match="a student cannot be called 'teacher'; rename its folder"):
        compress_bundle(teacher, data, **{**known, "students": [str(own)]})
    with pytest.raises(InputError, match=r"output_dir '.*' lies in the folder of teacher, to which nothing is written"):
        compress_bundle(teacher, data, **{**known, "output_dir": teacher / "light"})
    with pytest.raises(InputError, match="lies in the folder of dataset_dir"):
        compress_bundle(teacher, data, **{**known, "output_dir": data}, dry_run=True)
    with pytest.raises(InputError, match=r"widths must be numbers from 0\.125 to 4, got 1000000"):
        compress_bundle(teacher, data, **known, widths=[1_000_000], dry_run=True)
    with pytest.raises(InputError, match=r"widths must be numbers from 0\.125 to 4, got 0"):
        compress_bundle(teacher, data, **known, widths=[0])
    with pytest.raises(InputError, match="jobs must be an integer of at least 1, got 0"):
        compress_bundle(teacher, data, **known, jobs=0)
    with pytest.raises(InputError, match="this machine has no GPU 99"):
        compress_bundle(teacher, data, **known, gpus=["99"], dry_run=True)
    with pytest.raises(InputError, match=r"allow must be .*'seen', got 'sen'"):
        compress_bundle(teacher, data, **known, allow=["sen"])
    with pytest.raises(InputError, match="'ckpt_dir' is set by compress itself"):
        compress_bundle(teacher, data, **known, ckpt_dir="elsewhere")
    with pytest.raises(UnknownNameError, match="unknown recipe 'carefull'"):
        compress_bundle(teacher, data, **known, recipe="carefull")
    with pytest.raises(UnknownNameError, match="unknown config id 'epoch'"):
        compress_bundle(teacher, data, **known, epoch=1)
    (teacher / "models" / "model.pt").unlink()
    with pytest.raises(InputError, match=r"has no weights \(models/model.pt\): train it first"):
        compress_bundle(teacher, data, **known)


def test_a_recipe_that_needs_pretrained_weights_wants_the_sites_of_the_teacher(teacher, data):
    request = request_for(teacher, data, recipe="unlabelled")
    with pytest.raises(InputError, match="recipe 'unlabelled' needs initial_weights"):
        check_request(request, has_sources=False)


# Dice of four cases, and costs, chosen so that differences can be worked out by hand
TEACHER = FoundRow("teacher", "teacher", "Dice", 0.8, {}, None, 1000, 40.0, 2.0, 200.0, Path("t.onnx"))


def row(how, values, validation=0.5, network="enet", seconds=0.5):
    cases = {f"c{number}": value for number, value in enumerate(values)}
    dice = sum(values) / len(values)
    return FoundRow(network, how, "Dice", dice, cases, validation, 100, 5.0, seconds, 150.0, Path(f"{how}.onnx"))


def found(*rows):
    return Found((replace(TEACHER, cases=dict.fromkeys(rows[0].cases, TEACHER.dice)), *rows), {})


def test_the_control_of_a_distilled_student_has_its_start():
    alone, pretrained, distilled = (row(how, [0.5]) for how in ("alone", "pretrained", "distilled"))
    assert control_of(distilled, [alone, pretrained, distilled]) is pretrained
    assert control_of(distilled, [alone, distilled]) is alone
    assert control_of(pretrained, [alone, pretrained]) is None


def test_the_student_is_chosen_by_validation_and_not_by_its_test():
    better = row("alone", [0.9], validation=0.4)
    chosen = row("distilled", [0.7], validation=0.6)
    assert chosen_row(found(better, chosen)) is chosen
    # without validation in every row the test cases choose, and the report says so
    assert chosen_row(found(better, replace(chosen, validation=None))) is better


def test_one_sentence_says_what_is_lost_and_gained():
    sentence = exchange_sentence(found(row("distilled", [0.7, 0.7])))
    assert "takes 0.500 CPU seconds a volume where the teacher takes 2.000 (4.0 times less)" in sentence
    assert "is a file of 5.0 MB instead of 40.0 MB (8.0 times less)" in sentence
    assert "and loses 0.100 Dice against it" in sentence
    slower = exchange_sentence(found(row("distilled", [0.9, 0.9], seconds=4.0)))
    assert "(2.0 times more)" in slower
    assert "and gains 0.100 Dice against it" in slower


@pytest.mark.parametrize(
    ("change", "kind"), [(0.1, "helped"), (-0.1, "hurt"), (0.0, "none")], ids=["helped", "hurt", "none"]
)
def test_whether_distillation_helped_is_said_beside_its_control(change, kind):
    values = [0.5 + 0.01 * number for number in range(8)]
    noise = [0.002 * (-1) ** number for number in range(8)]
    distilled = [value + change + extra for value, extra in zip(values, noise, strict=True)]
    rows = row("alone", [value - 0.2 for value in values]), row("pretrained", values), row("distilled", distilled)
    (said,) = distillation_sentences(found(*rows))
    assert said["kind"] == kind
    assert "against enet, pretrained" in said["sentence"]
    # the gain over the plain student stands beside it
    assert f"+{0.2 + change:.3f} against enet, alone" in said["sentence"]


def test_few_cases_make_no_claim():
    (said,) = distillation_sentences(found(row("alone", [0.5] * 5), row("distilled", [0.9] * 5)))
    assert (said["kind"], said["headline"]) == ("few", "enet: too few cases to tell")
    assert math.isclose(float(said["sentence"].split()[0]), 0.4)


def test_a_gain_is_that_of_the_cases_in_which_both_have_a_dice():
    # the Dice of two empty masks is undefined: the mean of the first is 0.8, of 1 case, that of the second 0.3, of 2
    empty = replace(row("alone", [0.8]), cases={"c0": 0.8, "c1": math.nan})
    other = row("distilled", [0.6, 0.0])
    assert other.gain(empty) == pytest.approx(-0.2)
    (said,) = distillation_sentences(found(empty, other))
    assert said["sentence"].startswith("−0.200 Dice against enet, alone")
    assert replace(other, cases={}).gain(empty) == pytest.approx(0.3 - 0.8)


def test_means_alone_show_no_difference():
    rows = (replace(row(how, [0.5] * 9), cases={}) for how in ("alone", "distilled"))
    (said,) = distillation_sentences(found(*rows))
    assert (said["kind"], said["headline"]) == ("few", "enet: no difference can be shown from means alone")


def test_many_students_are_measured_in_a_folder_whose_name_a_file_system_takes(teacher, data, tmp_path):
    widths = tuple(0.25 + 0.25 * number for number in range(12))
    _, cells = planned(teacher, data, tmp_path / "out", widths=widths)
    assert cells[-1].name.startswith("measure/37-networks-")
    Path(cells[-1].folder).mkdir(parents=True)
    _, fewer = planned(teacher, data, tmp_path / "out", widths=(*widths[1:], 3.5))
    assert fewer[-1].name != cells[-1].name


def test_the_page_of_a_call_from_python_names_no_arguments_of_the_process(teacher, data, tmp_path, monkeypatch):
    request = request_for(teacher, data)
    monkeypatch.setattr("sys.argv", ["ipykernel", "-f", "kernel.json"])
    assert (
        _command(request, tmp_path)
        == f"compress_bundle({str(teacher)!r}, {str(data)!r}, output_dir={str(tmp_path)!r}, ...)"
    )
    monkeypatch.setattr("sys.argv", ["__main__.py", "compress", "big", "--seed", "3"])
    assert _command(request, tmp_path) == "python -m akd_monai compress big --seed 3"


def test_a_dry_run_names_the_cells_and_writes_nothing(teacher, data, tmp_path):
    plan = compress_bundle(teacher, data, students=["enet"], output_dir=tmp_path / "out", dry_run=True)
    lines = str(plan).splitlines()
    # without a record there are no sites to pre-train at: two rows of three cells, two of the teacher, the measurement
    assert len(lines) == 2 + 2 * 3 + 1
    assert lines[0] == "to do test/teacher/teacher"
    assert lines[-1] == "to do measure/teacher+enet"
    with pytest.raises(InputError, match="epohcs"):
        compress_bundle(teacher, data, students=["enet"], output_dir=tmp_path / "out", dry_run=True, epohcs=3)
    assert not (tmp_path / "out").exists()
