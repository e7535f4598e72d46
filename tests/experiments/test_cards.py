# SPDX-License-Identifier: Apache-2.0
"""Model cards: every figure is that of the records, and what is not stated is not invented."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from made_up_study import digest, make_study

from akd_monai.bundle import write_bundle
from akd_monai.errors import InputError
from akd_monai.experiments._cards.cards import write_cards
from akd_monai.experiments._cards.licence import licence_of
from akd_monai.experiments._plan.cell import Row
from akd_monai.experiments._study.study import read_study
from akd_monai.experiments._study.table import study_tables
from akd_monai.files import write_json

SMALL = {"targets": ["HK"], "controls": ["pretrained"], "methods": {"distilled": {}}}
DISTILLED = Row("HK", 0, "student", "enet", "distilled", "unetplusplus", 0)
TEACHER = Row("HK", 0, "teacher", "unetplusplus", "sources")


def made_up(folder, **changes):
    out = make_study(folder, **{**SMALL, **changes})
    write_bundle("enet", out / "bundles" / "student-enet")
    write_bundle("unetplusplus", out / "bundles" / "teacher-unetplusplus")
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("cards"))


@pytest.fixture(scope="module")
def study(out):
    return read_study(out)


@pytest.fixture(scope="module")
def tables(study):
    return study_tables(study)[:1]


@pytest.fixture
def cards(study, tables, tmp_path):
    return {path.name: path.read_text() for path in write_cards(study, tmp_path / "cards", tables)}


def test_each_student_has_a_card(cards):
    assert sorted(cards) == ["enet-pretrained.md", "enet-unetplusplus-distilled.md", "enet-without.md"]


def test_figures_are_those_of_the_cases(cards):
    card = cards["enet-unetplusplus-distilled.md"]
    # 0.65 of the method, 0.01 for each of 8 cases, 0.004 for the second of two seeds: 0.65 + 0.035 + 0.002
    assert "| Dice, prostate | HK | 0.687 | [" in card
    assert "| 8 cases, 2 seeds |" in card
    # the plain student has 0.60, the one that was trained at the sources before 0.70
    assert "| Dice, prostate | w/o distillation | +0.050 | [+0.050, +0.050] | [+0.050, +0.050] | 2 of 2 |" in card
    assert "| Dice, prostate | pre-trained at the sources | −0.050 |" in card
    # the least two-sided p of the signed-rank test of 8 cases is 2 / 2**8, times three comparisons
    assert card.count("| 0.023 | better |") == card.count("| 0.023 | worse |") == 1


def test_weights_teacher_and_data_are_named(cards):
    card = cards["enet-unetplusplus-distilled.md"]
    file = "`cells/train/HK/fold-0/student-enet/distilled/unetplusplus/seed-0/models/model.pt`"
    assert f"| HK | 0 | 0 | 2 | {file} | `{digest('weights', DISTILLED.name())}` |" in card
    assert card.count("/models/model.pt`") == 2
    # 8 cases of each source are for training and validation, of which the last two are for validation
    assert f"| train/{TEACHER.name()} | RUNMC, BMC | 12 | `{digest('weights', TEACHER.name())}` |" in card
    assert "licence of its bundle: Apache-2.0" in card
    assert "| HK | 0 | 1 | HK | 6 | 2 | 8 |" in card
    assert "| weights of the terms | logits: 0.2 |" in card
    assert "353545 parameters" in card
    assert "arXiv:2404.02738, arXiv:1606.02147" in card


def test_a_student_without_teacher_says_so(cards):
    assert "- Teacher: none" in cards["enet-without.md"]
    assert "### Teachers" not in cards["enet-without.md"]
    assert "### Paired differences" not in cards["enet-without.md"]
    first = cards["enet-pretrained.md"].split("### First weights")[1]
    assert "train/HK/student-enet/sources/seed-1 | RUNMC, BMC" in first.split("##")[0]


def test_synthetic_data_are_named_first_and_again_among_the_limits(cards):
    for card in cards.values():
        assert "**SYNTHETIC DATA.**" in card.split("## Model details")[0]
        assert "No figure here says anything about patients" in card.split("## Caveats")[1]
        assert "not a medical device" in card
        assert "Fewer than 10 test cases at HK" in card


def test_every_section_of_a_model_card_is_there(cards):
    wanted = ["Model details", "Intended use", "Factors", "Metrics", "Data", "Training", "Quantitative analyses"]
    wanted += ["Ethical considerations", "Caveats and recommendations", "Versions"]
    for card in cards.values():
        assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == wanted
        assert "\n\n\n" not in card


def test_real_cases_and_one_seed(tmp_path):
    out = made_up(tmp_path, synthetic=False, seeds=[0], controls=["teacher_zero_shot"])
    study = read_study(out)
    paths = write_cards(study, tmp_path / "cards", study_tables(study)[:1])
    card = next(path for path in paths if "distilled" in path.name).read_text()
    assert "SYNTHETIC" not in card
    assert "Images of patients were used" in card
    assert "One seed: another training may well give other figures" in card
    assert "No control was run that learned from the sources" in card
    assert "| too few trainings or cases to tell |" in card


def test_under_loso_the_card_says_that_the_target_was_never_seen(tmp_path):
    out = made_up(tmp_path, protocol="loso", controls=[], run_folds=[0])
    study = read_study(out)
    card = write_cards(study, tmp_path / "cards", study_tables(study)[:1])[0].read_text()
    assert "No image of the target site reached any training" in card
    assert "At a site from which no labelled case was learned" not in card


def test_a_small_size_is_a_limit(study, tables, tmp_path):
    small = {row: {**record, "spatial_size": [64, 64]} for row, record in study.trainings.items()}
    card = write_cards(replace(study, trainings=small), tmp_path, tables)[0].read_text()
    assert "Slices of 64 pixels a side, where the paper has 384" in card


def test_equal_results_give_equal_bytes(study, tables, tmp_path):
    first, second = (write_cards(study, tmp_path / name, tables) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.fault(
    "Experiments",
    "weights that are replaced after their evaluation",
    injected="another `model.pt` in the folder of a cell",
    outcome="no model card is written; the file is named",
)
def test_other_weights_than_those_evaluated_are_refused(tmp_path):
    out = made_up(tmp_path)
    study = read_study(out)
    file = out / "cells" / "train" / DISTILLED.name() / "models" / "model.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"others")
    with pytest.raises(InputError, match=r"seed-0/models/model.pt' holds other weights than those that were evaluated"):
        write_cards(study, tmp_path / "cards", study_tables(study)[:1])
    trainings = {row: dict(record) for row, record in study.trainings.items()}
    trainings[DISTILLED]["weights_sha256"] = hashlib.sha256(b"others").hexdigest()
    write_cards(replace(study, trainings=trainings), tmp_path / "cards", study_tables(study)[:1])


@pytest.mark.parametrize(
    ("metadata", "files", "expected"),
    [
        ({"license": "CC-BY-4.0"}, {"LICENSE": "MIT License"}, "CC-BY-4.0"),
        ({}, {"LICENSE": "  Apache License\n  Version 2.0, January 2004\n"}, "Apache-2.0"),
        ({}, {"LICENSE": "MIT License\n\nCopyright"}, "MIT"),
        (
            {"license": " "},
            {"LICENSE.md": "\nAll rights | reserved\nno use"},
            'see LICENSE.md, "All rights | reserved"',
        ),
        ({}, {}, "not stated"),
        (
            {"license": "MIT"},
            {"docs/data_license.txt": "no commerce"},
            "MIT; terms of the data it was published with: docs/data_license.txt of the bundle",
        ),
    ],
    ids=["metadata", "apache", "mit", "own", "none", "data"],
)
def test_a_licence_is_what_the_bundle_states(tmp_path, metadata, files, expected):
    write_json(tmp_path / "configs" / "metadata.json", metadata)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == expected


def test_no_home_folder_is_in_a_card(study, tables, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    named = {row: {**record, "schedule": f"{tmp_path}/mine.json"} for row, record in study.trainings.items()}
    for path in write_cards(replace(study, trainings=named), tmp_path / "cards", tables):
        assert str(tmp_path) not in path.read_text()
        assert "~/mine.json" in path.read_text()


def test_metadata_on_several_lines_stays_one_line(out, tables, tmp_path):
    file = out / "bundles" / "student-enet" / "configs" / "metadata.json"
    content = json.loads(file.read_text())
    try:
        write_json(file, {**content, "intended_use": "Research\n# only"})
        card = write_cards(read_study(out), tmp_path, tables)[0].read_text()
    finally:
        write_json(file, content)
    assert "\nResearch # only.\n" in card
