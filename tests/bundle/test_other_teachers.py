# SPDX-License-Identifier: Apache-2.0
"""Several teachers, an average of the student and statistics of the target between bundles from elsewhere, 2D and 3D."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from cli_tools import fails_with, make_pair
from monai.bundle import ConfigParser
from monai.bundle import run as monai_run
from monai.networks.nets import UNet
from zoo_style_tools import draw_weights, metadata, train_json, write_shapes, write_teacher

from akd_monai.__main__ import main
from akd_monai._last_line import user_error
from akd_monai.bundle import (
    DistillationWorkflow,
    compare_bundles,
    distill_bundle,
    distillation_configs,
    distillation_layer,
    teacher_classes,
    teacher_sha256,
    teacher_value_range,
)
from akd_monai.bundle.teacher import teacher_list
from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.teachers import TeacherEnsemble

LAYER = "model.1.submodule.0"
FEATURES = {"student_layer": LAYER, "teacher_layer": LAYER, "terms": "logits,gram"}


def written(root: Path, dims: int, seed: int | None = None, **meta) -> Path:
    """Write a bundle with batch normalisation, and drawn weights if there is a seed."""
    config = deepcopy(train_json(dims, 1, 2))
    config["dataset_dir"] = str(root.parent / "data")
    config["network_def"]["norm"] = "batch"
    # one network whatever was drawn before, and two steps
    config["initialize"] = ["$monai.utils.set_determinism(seed=5)"]
    root = write_teacher(root, config, {**metadata(dims, 1, 2), **meta})
    if seed is not None:
        torch.manual_seed(seed)
        definition = {name: value for name, value in config["network_def"].items() if name != "_target_"}
        draw_weights(root, UNet(**definition))
    return root


def bundles(root: Path, dims: int = 2) -> tuple[list[Path], Path]:
    """Return three teachers, the second of which has its classes in another order, and a student."""
    write_shapes(root / "data", dims, 1)
    teachers = [written(root / name, dims, seed) for seed, name in enumerate("abc")]
    path = teachers[1] / "configs" / "metadata.json"
    meta = json.loads(path.read_text())
    meta["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "part 1", "1": "part 0"}
    path.write_text(json.dumps(meta))
    return teachers, written(root / "student", dims)


def facts(student: Path) -> dict:
    return json.loads((student / "distillation" / "training.json").read_text())


@pytest.mark.parametrize("dims", [2, 3])
def test_three_teachers_of_two_orders_of_classes_teach_a_student(tmp_path, dims):
    teachers, student = bundles(tmp_path, dims)
    workflow = DistillationWorkflow(",".join(map(str, teachers)), student, teacher_vote="agreement", **FEATURES)
    assert workflow.train() == student / "models" / "model.pt"
    trainer = workflow._trainer()
    assert isinstance(trainer.teacher, TeacherEnsemble)
    assert [member.output.classes for member in trainer.teacher_source.members] == [None, [[1], [0]], None]
    assert set(trainer.state.loss_terms) == {"task", "logits", "gram"}
    teacher = facts(student)["teacher"]
    assert teacher["vote"] == "agreement"
    assert len({member["weights"] for member in teacher["members"].values()}) == 3
    assert teacher_sha256(list(map(str, teachers))) == {
        str(number): sha256_of(root / "models" / "model.pt") for number, root in enumerate(teachers, start=1)
    }


@pytest.mark.parametrize("dims", [2, 3])
def test_a_student_is_its_own_teacher_and_the_target_gives_statistics(tmp_path, dims):
    teachers, student = bundles(tmp_path, dims)
    workflow = DistillationWorkflow("self", student, ema_decay=0.5, **{**FEATURES, "teacher_layer": LAYER})
    assert workflow.train() is not None
    trainer = workflow._trainer()
    assert int(trainer.teacher.average.n_averaged) == trainer.state.iteration + 1
    assert facts(student)["teacher"]["decay"] == 0.5
    with pytest.raises(RuntimeError) as caught:
        distill_bundle(teachers[0], student, terms="logits")
    assert "belongs to another run, which differs in teacher" in str(user_error(caught.value))
    options = {"teacher_norm": "target", "teacher_norm_images": 4, "distillation_resume": "never"}
    workflow = DistillationWorkflow(teachers[0], student, terms="logits", **options)
    assert workflow.train() is not None
    assert facts(student)["teacher"]["batch_norm"] == {"statistics": "target", "images": 4}
    saved = torch.load(teachers[0] / "models" / "model.pt", weights_only=True)
    now = workflow._trainer().teacher.state_dict()
    differing = {name.rsplit(".")[-1] for name, value in saved.items() if not torch.equal(value, now[name])}
    assert differing == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_list_of_one_teacher_is_that_teacher_bit_for_bit_and_both_doors_agree(tmp_path):
    teachers, student = bundles(tmp_path)
    once = {"terms": "logits", "distillation_resume": "off"}
    alone = torch.load(distill_bundle(teachers[0], student, **once), weights_only=True)
    listed = torch.load(distill_bundle([teachers[0]], student, **once), weights_only=True)
    assert all(torch.equal(value, listed[name]) for name, value in alone.items())
    weights = [str(root / "models" / "model.pt") for root in (teachers[0], teachers[2])]
    folds = torch.load(distill_bundle(teachers[0], student, teacher_weights=weights, **once), weights_only=True)
    sites = torch.load(distill_bundle([teachers[0], teachers[2]], student, **once), weights_only=True)
    assert all(torch.equal(value, sites[name]) for name, value in folds.items())
    assert not all(torch.equal(value, sites[name]) for name, value in alone.items())


def test_metadata_of_several_teachers_are_read_for_each(tmp_path):
    teachers, student = bundles(tmp_path)
    assert teacher_classes(teachers, student) == [None, [[1], [0]], None]
    assert teacher_classes([teachers[0], teachers[2]], student) is None
    assert teacher_value_range(teachers) == [0, 1]
    other = written(tmp_path / "other", 2, 0, distillation_layers={"high": "model.0"})
    assert distillation_layer([other, other], "high") == "model.0"
    assert distillation_layer([other, teachers[0]], "high", missing_ok=True) is None
    third = written(tmp_path / "third", 2, 0, distillation_layers={"high": "model.1"})
    with pytest.raises(InputError, match=r"the layer 'high' is 'model.0' in teacher .* and 'model.1' in"):
        distillation_layer([other, third], "high")


def test_each_teacher_is_compared_with_the_student(tmp_path):
    teachers, student = bundles(tmp_path)
    assert compare_bundles("self", student) == []
    odd = written(tmp_path / "odd", 3, 0)
    with pytest.raises(InputError, match=f"teacher '{odd}' and student .* spatial dimensions 3 and 2"):
        compare_bundles([teachers[0], odd], student)
    path = teachers[2] / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"value_range": [0, 1]', '"value_range": [0, 255]'))
    (warning,) = compare_bundles(teachers, student)
    assert warning.startswith(f"{teachers[2]}: the teacher was trained on values in [0, 255]")


def test_the_bundles_of_the_project_record_the_hash_of_each_teacher(tmp_path):
    teacher, student, data = make_pair(tmp_path)
    second = tmp_path / "second.pt"
    state = torch.load(teacher / "models" / "model.pt", weights_only=True)
    torch.save({name: value + 0.01 for name, value in state.items()}, second)
    files = [teacher / "models" / "model.pt", second]
    folder = student / "distillation-of-two"
    main(
        [
            "distill", f"--teacher={teacher}", f"--student={student}", f"--dataset_dir={data}", "--sites=['I2CVB']",
            f"--teacher_weights={files[0]},{files[1]}", f"--output_dir={folder}", "--epochs=1", "--folds=None",
            "--samples_per_epoch=4", "--val_interval=5",
        ]
    )  # fmt: skip
    record = json.loads((folder / "training.json").read_text())
    assert record["teacher_sha256"] == {str(n): sha256_of(file) for n, file in enumerate(files, start=1)}
    assert record["teacher"]["vote"] == "mean"


def test_the_fingerprint_of_an_ordinary_run_is_that_of_earlier_versions(tmp_path):
    _, student, _ = make_pair(tmp_path)
    config = ConfigParser.load_config_file(str(student / "configs" / "distill.json"))
    parser = ConfigParser(
        {"teacher_options": config["teacher_options"], "kept": config["+fingerprint"]["teacher_options"]}
    )
    parser["teacher_options#cache_dir"] = None
    parser["teacher_options#norm"] = "stored"
    parser["teacher_options#norm_images"] = 128
    assert set(parser.get_parsed_content("kept")) == {"cache_dtype", "dtype", "channels_last", "compile"}


REFUSED = {
    "twice": (["{a},{a}"], "is named twice; name each teacher once."),
    "numbers": (["{a},{c}", "--teacher_weights=x.pt"], "teacher_bundle names 2 teachers and teacher_weights 1 files"),
    "self among others": (["self,{a}"], "the student itself cannot be one of several teachers"),
    "decay of a teacher": (
        ["{a}", "--ema_decay=0.9"],
        "ema_decay is that of an average of the student, but the teacher",
    ),
    "decay": (["self", "--ema_decay=1"], "ema_decay must be a number of at least 0 and below 1, or None, got 1"),
    "two agree": (["{a},{c}", "--teacher_vote=agreement"], "teacher_vote 'agreement' needs at least 3 teachers, got 2"),
    "one agrees": (["{a}", "--teacher_vote=agreement"], "teacher_vote 'agreement' needs at least 3 teachers, got 1"),
    "self agrees": (["self", "--teacher_vote=agreement"], "teacher_vote 'agreement' needs at least 3 teachers, got 1"),
    "vote": (["{a},{c}", "--teacher_vote=meen"], "teacher_vote must be one of 'mean', 'agreement', got 'meen'"),
    "norm": (["{a}", "--teacher_norm=targt"], "teacher_norm must be one of 'stored', 'target', got 'targt'"),
    "cache of self": (["self", "--teacher_cache=cache"], "cannot be cached; leave out teacher_cache"),
    "weights of self": (["self", "--teacher_weights=x.pt"], "an average of the student has no weights of its own"),
    "norm of self": (["self", "--teacher_norm=target"], "has the student's own batch statistics"),
    "no folder": (["{a},{a}/no"], "no' does not exist; give the folder that holds configs/ and models/"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("pair"))


@pytest.mark.fault(
    "Wrong input",
    "teachers that do not go together",
    injected="one named twice, two files for three teachers, an average of the student with a cache, a decay without it, "
    "a vote of one or two, a misspelt vote, and six more",
    outcome="exit code 2, one line with the remedy",
)
@pytest.mark.parametrize("name", REFUSED)
def test_teachers_that_do_not_go_together_end_in_one_line(made, capsys, name):
    (given, *flags), message = REFUSED[name]
    (a, _, c), student = made
    given = given.format(a=a, c=c)
    line = fails_with(capsys, "distill", f"--teacher={given}", f"--student={student}", "--terms=logits", *flags)
    assert message in line


def test_names_of_teachers_are_split_at_commas_but_a_folder_may_have_one(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert teacher_list(str(tmp_path / "a,b")) == [(str(tmp_path / "a,b"), None)]
    assert teacher_list("x, y", [None, "w.pt"]) == [("x", None), ("y", "w.pt")]
    for wrong in (None, 3, []):
        with pytest.raises(InputError, match="teacher_bundle"):
            teacher_list(wrong)


@pytest.mark.parametrize("given", ["several", "self"])
def test_monais_own_command_gives_the_same_weights(tmp_path, given):
    teachers, student = bundles(tmp_path)
    of_monai = [str(teachers[0]), str(teachers[2])] if given == "several" else "self"
    options = {"distillation_resume": "off"}
    ours = torch.load(distill_bundle(of_monai, student, **options), weights_only=True)
    (student / "models" / "model.pt").unlink()
    files = [str(path) for path in distillation_configs(student)]
    monai_run(
        run_id="run", init_id="initialize", config_file=files, logging_file=False, bundle_root=str(student),
        meta_file=str(student / "configs" / "metadata.json"), teacher_bundle=of_monai, **options,
    )  # fmt: skip
    theirs = torch.load(student / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
