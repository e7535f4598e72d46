# SPDX-License-Identifier: Apache-2.0
"""What ``DistillationWorkflow`` makes of its arguments, before anything is run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from bundle_tools import small_bundle
from foreign_tools import STUDENT, foreign_bundle, foreign_teacher
from monai.bundle import ConfigParser

from akd_monai.bundle import DistillationWorkflow, build_network, distillation_configs
from akd_monai.bundle import compare as compare_module
from akd_monai.errors import InputError, UnknownNameError


@pytest.fixture
def pair(tmp_path):
    teacher = small_bundle("unetplusplus", tmp_path / "teacher")
    torch.save(build_network(teacher).state_dict(), teacher / "models" / "model.pt")
    return teacher, small_bundle("enet", tmp_path / "student")


def options(workflow: DistillationWorkflow) -> dict:
    return workflow.parser.get_parsed_content("teacher_options")


DEFAULTS = {
    "cache_dir": None,
    "cache_dtype": "float32",
    "dtype": None,
    "channels_last": False,
    "compile": False,
    "norm": "stored",
    "norm_images": 128,
}


def test_options_of_the_teacher_are_one_mapping(pair):
    assert options(DistillationWorkflow(*pair)) == DEFAULTS
    changed = DistillationWorkflow(*pair, teacher_cache="cache", **{"teacher_options#dtype": "bfloat16"})
    assert options(changed) == {**DEFAULTS, "cache_dir": "cache", "dtype": "bfloat16"}
    assert changed.parser.get("train#trainer#teacher_options") == "@teacher_options"


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("teacher_cache_dtype", "cache_dtype", "float16"),
        ("teacher_dtype", "dtype", "bfloat16"),
        ("teacher_channels_last", "channels_last", True),
        ("teacher_compile", "compile", True),
    ],
)
def test_old_ids_are_accepted_with_a_hint(pair, old, new, value, capsys):
    workflow = DistillationWorkflow(*pair, **{old: value})
    assert options(workflow) == {**DEFAULTS, new: value}
    assert (
        f"{old} is now teacher_options#{new}; change the name, the old one will be removed." in capsys.readouterr().out
    )


def test_an_overlay_of_version_0_1_keeps_its_ids(pair, tmp_path, capsys):
    overlay = json.loads((pair[1] / "configs" / "distill.json").read_text())
    del overlay["teacher_options"]
    overlay |= {"teacher_dtype": None, "train#trainer#teacher_options": {"dtype": "@teacher_dtype"}}
    del overlay["+fingerprint"]["teacher_options"], overlay["+fingerprint"]["teacher_maps"]
    (tmp_path / "old.json").write_text(json.dumps(overlay))
    workflow = DistillationWorkflow(*pair, overlay=tmp_path / "old.json", teacher_dtype="float16")
    assert workflow.parser.get_parsed_content("train#trainer#teacher_options") == {"dtype": "float16"}
    assert "is now" not in capsys.readouterr().out


def test_the_fingerprint_names_everything_but_where_the_cache_lies(pair):
    workflow = DistillationWorkflow(*pair, teacher_cache="cache", lambda_gram=0.5)
    parts = {
        n: workflow.parser.get_parsed_content(f"fingerprint#{n}") for n in ("lambdas", "layers", "teacher_options")
    }
    assert parts == {
        "lambdas": {"logits": 0.2, "gram": 0.5, "affinity": 0.9},
        "layers": {"student": "stage3", "teacher": workflow.parser.get_parsed_content("teacher_layer")},
        # statistics of the teacher are compared elsewhere, so that a run of an earlier version is the same run
        "teacher_options": {n: v for n, v in DEFAULTS.items() if n not in ("cache_dir", "norm", "norm_images")},
    }
    assert workflow.parser.get_parsed_content("fingerprint#teacher_maps") == "cached"
    assert DistillationWorkflow(*pair).parser.get_parsed_content("fingerprint#teacher_maps") == "online"


def test_terms_that_are_left_out_get_weight_0(pair):
    workflow = DistillationWorkflow(*pair, terms="gram, logits")
    assert [workflow.parser.get(f"lambda_{n}") for n in ("logits", "gram", "affinity")] == [0.2, 0.9, 0.0]
    # what is given wins
    assert DistillationWorkflow(*pair, terms=["gram"], lambda_logits=0.1).parser.get("lambda_logits") == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"terms": "afinity"}, "unknown loss 'afinity' in this overlay. Did you mean 'affinity'"),
        ({"epohcs": 3}, "unknown config id 'epohcs'. Did you mean 'epochs'"),
        (
            {"trian#trainer#max_epochs": 3},
            "unknown config id 'trian' in 'trian#trainer#max_epochs'. Did you mean 'train'",
        ),
        ({"teacher_cache_mode": "warped"}, "unknown config id 'teacher_cache_mode'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unknown_names_are_refused(pair, arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        DistillationWorkflow(*pair, **arguments)


@pytest.mark.parametrize("name", ["train", "distill", "metadata"])
def test_a_broken_file_is_named_with_the_line(pair, name):
    path = pair[1] / "configs" / f"{name}.json"
    path.write_text('{"epochs": }')
    with pytest.raises(InputError, match=rf"{name}.json: is no valid JSON \(.* line 1 column 12"):
        DistillationWorkflow(*pair)


def test_an_overlay_that_fits_another_bundle_is_told(pair, tmp_path):
    (tmp_path / "overlay.json").write_text(json.dumps({"training#trainer#teacher": 1}))
    message = r"overlay.json: changes 'training#trainer#teacher', whose parent does not exist in train.json"
    with pytest.raises(InputError, match=message):
        DistillationWorkflow(*pair, overlay=tmp_path / "overlay.json")


@pytest.mark.parametrize("tracking", ["[]", '{"configs": {}}', "{"], ids=["list", "incomplete", "no JSON"])
def test_broken_tracking_settings_are_told(pair, tmp_path, tracking):
    (tmp_path / "tracking.json").write_text(tracking)
    with pytest.raises(InputError, match=r"tracking.json: (must hold|has no 'handlers_id'|is no valid JSON)"):
        DistillationWorkflow(*pair, tracking=str(tmp_path / "tracking.json"))


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"configs": {}}, r"^tracking: has no 'handlers_id' that is a mapping; give 'mlflow' or a file"),
        ({"configs": [], "handlers_id": {}}, r"^tracking: has no 'configs' that is a mapping"),
        (["mlflow"], r"^tracking: must hold tracking settings, got \['mlflow'\]"),
        ("mlfow", r"^unknown tracking 'mlfow'\. Did you mean 'mlflow'"),
        ("no/such.json", r"such\.json"),
    ],
)
def test_tracking_that_is_none_is_told(pair, tracking, message):
    with pytest.raises(InputError, match=message):
        DistillationWorkflow(*pair, tracking=tracking)


@pytest.mark.parametrize("is_own", [True, False], ids=["own settings", "none"])
def test_a_tracked_run_names_its_recipe_and_takes_ids_of_the_tracking(pair, is_own):
    if not is_own:
        (pair[1] / "configs" / "tracking.json").unlink()
    given = {"tracking_uri": "sqlite:///mine.db", "run_params": {"protocol": "cross_site"}}
    parser = DistillationWorkflow(*pair, recipe="careful", tracking="mlflow", **given).parser
    assert parser["tracking_uri"] == "sqlite:///mine.db"
    assert parser["run_params"] == {"recipe": "careful", "protocol": "cross_site"}
    assert parser["train"]["handlers"][-1]["_target_"] == "akd_monai.handlers.MLflowTracker"
    with pytest.raises(UnknownNameError, match="unknown config id 'tracking_uri'"):
        DistillationWorkflow(*pair, tracking_uri="sqlite:///mine.db")


def test_monai_reads_every_file_once(pair, monkeypatch):
    read: Counter[str] = Counter()
    load, metadata = ConfigParser.load_config_file, compare_module.read_metadata

    def counted_load(path, **kwargs):
        read[f"{Path(path).parents[1].name}/{Path(path).name}"] += 1
        return load(path, **kwargs)

    def counted_metadata(bundle):
        read[f"our {Path(bundle).name}"] += 1
        return metadata(bundle)

    monkeypatch.setattr(ConfigParser, "load_config_file", counted_load)
    monkeypatch.setattr(compare_module, "read_metadata", counted_metadata)
    # the comparison of the pair reads the configs for itself, and nothing that it reads is run
    monkeypatch.setattr(compare_module, "output_activation", lambda *_: "softmax")
    monkeypatch.setattr(compare_module, "compare_preprocessing", lambda *_: [])
    DistillationWorkflow(*pair, terms="logits", epochs=3)
    # the overlay is read by this package
    assert read == {"student/train.json": 1, "student/metadata.json": 1, "our teacher": 1, "our student": 1}


def test_which_overlay_is_used(pair, tmp_path):
    _, student = pair
    assert [path.name for path in distillation_configs(student)] == ["train.json", "distill.json"]
    assert distillation_configs(student)[1].parent == student / "configs"
    (student / "configs" / "distill.json").unlink()
    assert distillation_configs(student)[1].parent.name == "bundle"
    with pytest.raises(InputError, match=r"overlay .*no.json' does not exist; leave it out"):
        distillation_configs(student, tmp_path / "no.json")
    (student / "configs" / "train.json").unlink()
    with pytest.raises(InputError, match=r"has no configs/train.json"):
        distillation_configs(student)


def test_a_bundle_without_a_trainer_is_told(tmp_path):
    teacher = foreign_teacher(tmp_path / "teacher", tmp_path)
    student = foreign_bundle(tmp_path / "student", STUDENT, tmp_path)
    content = json.loads((student / "configs" / "train.json").read_text())
    del content["train"]["trainer"]
    (student / "configs" / "train.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"the student's train config has no trainer \(train#trainer or trainer\)"):
        DistillationWorkflow(teacher, student)
