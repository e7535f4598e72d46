# SPDX-License-Identifier: Apache-2.0
"""Each flag of ``distill`` on students that know nothing of this package, through the command line and in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import monai
import numpy as np
import pytest
import torch
from small_students import CROP, nested, stepwise, unet, write_big, write_student, write_volumes

from akd_monai.__main__ import main
from akd_monai.bundle import DistillationWorkflow
from akd_monai.bundle import _tensorboard as tensorboard_module

HEADS = '''
from monai.networks.nets import UNet


class Heads(UNet):
    """A network with two outputs."""

    def forward(self, x):
        out = super().forward(x)
        return {"main": out, "negative": -out}
'''
OWN_LOSS = '''
from monai.losses import DiceCELoss


class Main(DiceCELoss):
    """A loss on one of several outputs, which says nothing of an activation."""

    def __init__(self):
        super().__init__(to_onehot_y=True, softmax=True)

    def forward(self, prediction, label):
        return super().forward(prediction["main"] if isinstance(prediction, dict) else prediction, label)
'''


@pytest.fixture(autouse=True)
def no_seeds_or_modules_are_left(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


@pytest.fixture
def workflows(monkeypatch):
    """The workflows that commands have run."""
    made, train = [], DistillationWorkflow.train

    def kept(self):
        made.append(self)
        return train(self)

    monkeypatch.setattr(DistillationWorkflow, "train", kept)
    return made


@pytest.fixture
def data(tmp_path):
    return write_volumes(tmp_path / "data", count=2)


def pair(root: Path, config: dict[str, Any], **options: Any) -> tuple[Path, Path]:
    data = Path(config["dataset_dir"])
    return write_big(root / "teacher", nested(data), **options), write_student(root / "student", config, **options)


def once(data: Path, **changes: Any) -> dict[str, Any]:
    return nested(data, epochs=1, **changes)


def distil(bundles: tuple[Path, Path], *flags: str) -> None:
    teacher, student = bundles
    main(["distill", f"--teacher={teacher}", f"--student={student}", *map(str, flags)])


def fails_with(capsys, bundles: tuple[Path, Path], *flags: str, code: int = 2) -> str:
    with pytest.raises(SystemExit) as stop:
        distil(bundles, *flags)
    line = str(stop.value.code) if code == 1 else capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == code or code == 1
    assert line.startswith("akd_monai: ")
    assert "\n" not in line
    return line


def change_metadata(root: Path, names: list[str]) -> None:
    path = root / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    pred = content["network_data_format"]["outputs"]["pred"]
    pred.update(num_channels=len(names), channel_def={str(number): name for number, name in enumerate(names)})
    path.write_text(json.dumps(content))


def with_script(root: Path, name: str, text: str) -> None:
    (root / "scripts").mkdir(exist_ok=True)
    (root / "scripts" / "__init__.py").touch()
    (root / "scripts" / f"{name}.py").write_text(text)


def terms_of(workflow: DistillationWorkflow) -> set[str]:
    return set(workflow._trainer().state.loss_terms)


def teacher_logits(workflow: DistillationWorkflow, image: torch.Tensor) -> torch.Tensor:
    """Return what the run compares the student with."""
    return workflow._trainer().teacher_source(image, {})[0]


IMAGE = torch.linspace(-1, 2, CROP**3).reshape(1, 1, CROP, CROP, CROP)


def test_terms_are_chosen_changed_and_left_out_by_name(tmp_path, data, workflows):
    bundles = pair(tmp_path, once(data))
    off = "--distillation_resume=off"
    distil(bundles, "--terms=logits", "--distillation#terms#logits#loss#temperature=2", off)
    distil(bundles, "--distillation#terms#gram=null", off)
    assert [terms_of(workflow) for workflow in workflows] == [{"task", "logits"}, {"task", "logits", "affinity"}]
    first, second = (workflow._trainer().distillation for workflow in workflows)
    temperatures = [term.loss.temperature for term in (*first.active, *second.active) if term.name == "logits"]
    assert temperatures == [2, 1]


def test_layers_of_both_bring_the_gram_term_in(tmp_path, data, workflows):
    distil(pair(tmp_path, once(data)), "--student_layer=model.0", "--teacher_layer=model.0")
    assert terms_of(workflows[0]) == {"task", "logits", "gram", "affinity"}


def test_an_activation_that_no_config_says_is_asked_for_and_given(tmp_path, data, workflows, capsys):
    config = once(data, loss={"_target_": "scripts.loss.Main"})
    config["imports"].append("$import scripts")
    del config["train"]["postprocessing"]
    del config["validate"]["evaluator"]["postprocessing"]
    del config["validate"]["key_metric"]["dice"]["include_background"]
    config["train"]["handlers"] = config["train"]["handlers"][1:]
    bundles = pair(tmp_path, config)
    with_script(bundles[1], "loss", OWN_LOSS)
    assert "--activation" in fails_with(capsys, bundles)
    distil(bundles, "--activation=softmax")
    assert workflows[-1]._trainer().teacher_output.activation == "softmax"
    message = fails_with(capsys, bundles, "--activation=softmx")
    assert "activation must be one of 'softmax', 'sigmoid', got 'softmx'. Did you mean 'softmax'?" in message


def test_classes_of_the_teacher_are_merged(tmp_path, data, workflows, capsys):
    bundles = (
        write_big(tmp_path / "teacher", nested(data, 3), classes=3),
        write_student(tmp_path / "student", once(data)),
    )
    change_metadata(bundles[0], ["background", "transition zone", "peripheral zone"])
    change_metadata(bundles[1], ["background", "gland"])
    message = fails_with(capsys, bundles)
    assert "transition zone" in message
    assert "--classes" in message
    distil(bundles, "--classes=gland=transition zone+peripheral zone")
    network = workflows[-1]._trainer().teacher
    with torch.no_grad():
        whole = network(IMAGE).double().numpy()
    merged = np.stack([whole[:, 0], np.log(np.exp(whole[:, 1]) + np.exp(whole[:, 2]))], 1)
    np.testing.assert_allclose(teacher_logits(workflows[-1], IMAGE).numpy(), merged, rtol=1e-5, atol=1e-6)


def test_heads_of_both_are_chosen(tmp_path, data, workflows, capsys):
    net = {"_target_": "scripts.net.Heads", **{k: v for k, v in unet(2).items() if k != "_target_"}}
    config = once(data, network_def=net, loss={"_target_": "scripts.loss.Main"})
    config["train"]["handlers"] = config["train"]["handlers"][1:]
    bundles = pair(tmp_path, config)
    for root in bundles:
        with_script(root, "net", HEADS)
    with_script(bundles[1], "loss", OWN_LOSS)
    for path in (bundles[0] / "configs").glob("train.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "network_def": net}))
    flags = ("--trust_teacher", "--activation=softmax", "--terms=logits", "--distillation_resume=off")
    assert "choose one by student_head" in fails_with(capsys, bundles, *flags)
    assert "choose one by teacher_head" in fails_with(capsys, bundles, *flags, "--student_head=main")

    def logits_term(of_teacher: str, of_student: str) -> float:
        distil(bundles, *flags, f"--teacher_head={of_teacher}", f"--student_head={of_student}")
        assert terms_of(workflows[-1]) == {"task", "logits"}
        return float(workflows[-1]._trainer().state.loss_terms["logits"])

    # to change the sign of all logits of two classes is to swap the classes, so only one sign alone makes a difference
    both, neither, one = (
        logits_term("negative", "negative"),
        logits_term("main", "main"),
        logits_term("negative", "main"),
    )
    assert both == pytest.approx(neither, rel=1e-4)
    assert abs(one - neither) > 0.01 * neither
    with torch.no_grad():
        expected = workflows[-1]._trainer().teacher(IMAGE)["negative"]
    assert torch.equal(teacher_logits(workflows[-1], IMAGE), expected)
    # which of them are compared belongs to what a run is
    resumed = flags[:-1]
    distil(bundles, *resumed, "--teacher_head=main", "--student_head=main")
    changed = "belongs to another run, which differs in teacher.output.head (was 'main', is 'negative'): "
    assert changed in fails_with(capsys, bundles, *resumed, "--teacher_head=negative", "--student_head=main")
    changed = "belongs to another run, which differs in trainer.student_head (was 'main', is 'negative'): "
    assert changed in fails_with(capsys, bundles, *resumed, "--teacher_head=main", "--student_head=negative")


def test_logits_of_a_chosen_head_have_an_adapter(tmp_path, data, workflows):
    net = {"_target_": "scripts.net.Heads", **{k: v for k, v in unet(2).items() if k != "_target_"}}
    config = once(data, network_def=net, loss={"_target_": "scripts.loss.Main"})
    config["train"]["handlers"] = config["train"]["handlers"][1:]
    bundles = pair(tmp_path, config)
    with_script(bundles[1], "net", HEADS)
    with_script(bundles[1], "loss", OWN_LOSS)
    flags = ("--activation=softmax", "--student_head=negative", "--lambda_gram=1", "--teacher_layer=model.0")
    distil(bundles, *flags)
    assert "gram" in terms_of(workflows[-1])
    (adapter,) = workflows[-1]._trainer().distillation.adapters.values()
    # from the two channels of the head to the two of the teacher's layer
    assert next(tuple(value.shape[:2]) for value in adapter.parameters()) == (2, 2)


def test_features_with_as_many_channels_as_classes_are_no_logits(tmp_path, workflows):
    data = write_volumes(tmp_path / "data", parts=2, count=2)
    config = once(data, sigmoid=True)
    bundles = write_big(tmp_path / "teacher", config), write_student(tmp_path / "student", config)
    # the first layer of the network has two channels
    distil(bundles, "--student_layer=model.0", "--terms=affinity", "--distillation_resume=off")
    distil(bundles, "--terms=affinity", "--distillation_resume=off")
    maps = [workflow._trainer().distillation.active[0].loss.student_map for workflow in workflows]
    assert maps == ["features", "logits"]


def test_the_id_that_runs_the_training_is_given_or_found(tmp_path, data, workflows, capsys):
    config = {**once(data), "run": ["$1 / 0"], "training": ["$@train#trainer.run()"]}
    bundles = pair(tmp_path, config)
    distil(bundles, "--run_id=training")
    assert workflows[-1]._trainer().state.epoch == 1
    assert "unknown run_id 'trainng'" in fails_with(capsys, bundles, "--run_id=trainng")
    line = fails_with(capsys, bundles, "--distillation_resume=off", code=1)
    assert "ZeroDivisionError: division by zero" in line


def test_what_is_found_can_be_allowed_by_name(tmp_path, data, workflows, capsys):
    bundles = pair(tmp_path, once(data))
    change_metadata(bundles[0], ["background", "gland"])
    change_metadata(bundles[1], ["background", "tumour"])
    assert "tumour" in fails_with(capsys, bundles)
    distil(bundles, "--allow=classes")
    assert workflows[-1]._trainer().teacher_output.classes is None
    assert "unknown check 'clases' in allow. Did you mean 'classes'" in fails_with(capsys, bundles, "--allow=clases")


@pytest.mark.parametrize("disabled", [False, True, "$not False"])
def test_tensorboard_that_is_missing_is_told_or_left_out(tmp_path, data, workflows, capsys, monkeypatch, disabled):
    monkeypatch.setattr(tensorboard_module.importlib.util, "find_spec", lambda _: None)
    config = once(data)
    handler = {"_target_": "TensorBoardStatsHandler", "log_dir": "logs", "_disabled_": disabled}
    config["train"]["handlers"].append(handler)
    bundles = pair(tmp_path, config)
    if disabled is False:
        line = fails_with(capsys, bundles)
        assert "handler TensorBoardStatsHandler (train#handlers#2) needs tensorboard, which is not installed" in line
        assert "--allow tensorboard" in line
        distil(bundles, "--allow=tensorboard")
    else:
        distil(bundles)
    assert workflows[-1]._trainer().state.epoch == 1


SAVER = {"_target_": "CheckpointSaver", "save_dir": "@ckpt_dir", "save_dict": {"model": "@network"}}
FINAL = {**SAVER, "save_final": True, "final_filename": "latest.pt"}
BEST = {**SAVER, "save_key_metric": True, "key_metric_filename": "best.pt"}
FILES = {
    "another name": ([], [BEST], 1, "best.pt"),
    "the best is preferred to the latest": ([FINAL], [BEST], 1, "best.pt"),
    "the latest alone": ([FINAL], [], 1, "latest.pt"),
    "validated never": ([], [BEST], 5, None),
    "validated never, but saved at the end": ([FINAL], [BEST], 5, "latest.pt"),
    "none": ([], [], 1, None),
}


@pytest.mark.parametrize("case", FILES)
def test_the_file_is_the_one_that_was_written(tmp_path, data, capsys, case):
    train, validate, interval, expected = FILES[case]
    config = once(data)
    config["train"]["handlers"] = [*config["train"]["handlers"], *train]
    config["train"]["handlers"][0]["interval"] = interval
    config["validate"]["handlers"] = validate
    bundles = pair(tmp_path, config)
    for name in ("model.pt", "best.pt", "latest.pt"):
        torch.save({}, bundles[1] / "models" / name)
    distil(bundles)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    if expected is None:
        assert "Student: " not in last
        assert "no" in last.lower()
    else:
        assert last == f"Student: {bundles[1] / 'models' / expected}"
        assert torch.load(bundles[1] / "models" / expected, weights_only=True)


def test_an_error_of_the_students_code_is_one_line_that_says_where(tmp_path, data, capsys):
    config = {**stepwise(data), "epochs": 1}
    bundles = pair(tmp_path, config)
    path = bundles[1] / "scripts" / "steps.py"
    path.write_text(path.read_text().replace("loss.backward()", "raise ValueError('no such luck')"))
    line = fails_with(capsys, bundles, code=1)
    assert f"bundle '{bundles[1]}' failed: ValueError: no such luck (steps.py, line " in line
