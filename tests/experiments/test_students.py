# SPDX-License-Identifier: Apache-2.0
"""The report on bundles that were trained by hand: what it compares, and what it refuses to compare."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import torch
from bundle_tools import FEATURES, SIZE, small_bundle
from cli_tools import fails_with

from akd_monai.__main__ import main
from akd_monai.bundle import build_network, weights_sha256
from akd_monai.errors import InputError
from akd_monai.experiments.results import read_results
from akd_monai.experiments.students import compare_students
from akd_monai.prostate import make_phantom

TESTED = ["HK/Case00", "HK/Case01"]
COLUMNS = ["case_id", "site", "class", "dice", "hd95_mm", "asd_mm"]
DICE = {"teacher": (0.5, 0.7), "alone": (0.6, 0.8), "distilled": (0.7, 0.8)}


def change(bundle, record, **values):
    path = bundle / "eval" / f"{record}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def write_records(bundle, name, teacher_sha256):
    sites, cases = (["BMC"], ["BMC/Case00"]) if name == "teacher" else (["HK"], ["HK/Case02"])
    training = {"seed": 3, "sites": sites, "case_ids": cases, "validation_case_ids": ["HK/Case03"], "epochs": 2}
    (bundle / "eval").mkdir()
    (bundle / "eval" / "training.json").write_text(
        json.dumps({**training, "network": "ENet", "teacher_sha256": teacher_sha256})
    )
    evaluation = {"case_ids": TESTED, "sites": ["HK"], "spatial_size": [SIZE, SIZE]}
    (bundle / "eval" / "evaluation.json").write_text(
        json.dumps({**evaluation, "weights_sha256": weights_sha256(bundle)})
    )
    (bundle / "eval" / "history.jsonl").write_text('{"epoch": 1, "loss/total": 0.5, "val_mean_dice": 0.25}\n')
    with (bundle / "eval" / "per_case.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        table.writerows([case, "HK", "prostate", dice, 1.0, 1.0] for case, dice in zip(TESTED, DICE[name], strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("made")
    found = {}
    for name in ("teacher", "alone", "distilled"):
        part = "unetplusplus" if name == "teacher" else "enet"
        bundle = small_bundle(
            part, tmp_path / name, **({"network_def#features": FEATURES} if name == "teacher" else {})
        )
        torch.save(build_network(bundle).state_dict(), bundle / "models" / "model.pt")
        write_records(bundle, name, weights_sha256(found["teacher"]) if name == "distilled" else None)
        found[name] = bundle
    make_phantom(tmp_path / "data", cases_per_site=2, sites="HK", size=32, slices=4, progress=False)
    return tmp_path


@pytest.fixture
def bundles(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    return {name: tmp_path / "made" / name for name in ("teacher", "alone", "distilled", "data")}


def compare(bundles, **more):
    data = bundles["data"]
    folder = data.with_name("report")
    given = {"teacher": bundles["teacher"], **more}
    return compare_students(bundles["alone"], bundles["distilled"], dataset_dir=data, output_dir=folder, **given)


def test_the_report_has_a_row_each_and_the_paired_difference(bundles, capsys):
    flags = [f"--{name}={bundles[name]}" for name in ("teacher", "alone", "distilled")]
    report = bundles["data"].with_name("report")
    main(["compare", *flags, f"--dataset_dir={bundles['data']}", f"--output_dir={report}"])
    assert capsys.readouterr().out == f"Report: {report / 'index.html'}\n"
    results = read_results(report)
    roles = [(system["key"], system["role"]) for system in results["systems"]]
    assert roles == [("teacher", "teacher"), ("alone", "baseline"), ("distilled", "distilled")]
    dice = {system["key"]: tuple(row["dice"] for row in system["per_case"]) for system in results["systems"]}
    assert dice == DICE
    facts = [results[name] for name in ("protocol", "target", "sources", "seed", "warnings")]
    assert facts == ["cross_site", "HK", ["BMC"], 3, []]
    assert results["data"]["kind"] == "synthetic"
    assert results["systems"][1]["profile"]["volume_shape"] == [SIZE, SIZE, 4]
    # 0.05 is the mean of 0.7 - 0.6 and 0.8 - 0.8
    assert "+0.050" in (report / "index.html").read_text()


def test_without_a_teacher_it_has_no_row(bundles):
    results = read_results(compare(bundles, teacher=None).parent)
    assert [system["key"] for system in results["systems"]] == ["alone", "distilled"]
    assert results["sources"] == []


def test_what_differs_beside_the_distillation_is_said(bundles):
    change(bundles["distilled"], "training", epochs=4, teacher_sha256="another")
    warnings = read_results(compare(bundles).parent)["warnings"]
    assert warnings == [
        "distilled and alone differ in more than the distillation: epochs.",
        "The teacher of distilled was not teacher with the weights that it has now.",
    ]


def test_a_teacher_of_the_same_site_is_not_called_cross_site(bundles):
    change(bundles["teacher"], "training", sites=["BMC", "HK"])
    results = read_results(compare(bundles).parent)
    assert results["protocol"] == "the teacher has cases of the target site"


@pytest.mark.fault(
    "Wrong input",
    "`compare` of bundles that cannot be compared",
    injected="no evaluation; other weights since; other cases; cases that were learned; students exchanged",
    outcome="exit code 2, one line names the bundle and the command that helps; no report",
)
@pytest.mark.parametrize(
    ("bundle", "record", "values", "message"),
    [
        ("alone", "evaluation", {"weights_sha256": "x"}, "alone': has other weights .* evaluate it again: python -m"),
        ("alone", "evaluation", {"case_ids": TESTED[:1]}, "'alone': was evaluated on other cases .* 1 and 2"),
        ("teacher", "training", {"case_ids": TESTED[1:]}, "'teacher': has learned from 1 of the 2 cases .* HK/Case01"),
        ("distilled", "training", {"validation_case_ids": TESTED}, "'distilled': has learned from 2 of the 2"),
        ("distilled", "training", {"teacher_sha256": None}, "'distilled' had no teacher"),
        (
            "alone",
            "training",
            {"weights_sha256": "x"},
            "alone': has other weights than its training has kept, .* again",
        ),
        ("alone", "training", {"teacher_sha256": "x"}, "'alone' was distilled; give as alone a student that had no"),
    ],
)
def test_what_cannot_be_compared_is_refused(bundles, bundle, record, values, message):
    change(bundles[bundle], record, **values)
    with pytest.raises(InputError, match=message):
        compare(bundles)
    assert not bundles["data"].with_name("report").exists()


def test_other_data_than_those_of_the_evaluation_are_refused(bundles):
    for name in ("Case01.nii.gz", "Case01_segmentation.nii.gz"):
        (bundles["data"] / "HK" / name).unlink()
    with pytest.raises(
        InputError, match=r"data': has no case HK/Case01, on which the bundles were evaluated; give the"
    ):
        compare(bundles)


@pytest.mark.parametrize(("record", "fact"), [("training", "seed"), ("evaluation", "spatial_size")])
def test_a_record_that_does_not_say_what_the_report_needs(bundles, record, fact):
    path = bundles["distilled"] / "eval" / f"{record}.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != fact}))
    with pytest.raises(InputError, match=rf"{record}\.json: does not say '{fact}'; give its RunRecord this fact"):
        compare(bundles)


@pytest.mark.parametrize(
    ("record", "remedy"), [("training", "train it first"), ("evaluation", "evaluate it first: python")]
)
def test_a_missing_record_names_the_command(bundles, capsys, record, remedy):
    (bundles["distilled"] / "eval" / f"{record}.json").unlink()
    flags = [f"--{name}={bundles[name]}" for name in ("alone", "distilled")]
    line = fails_with(capsys, "compare", *flags, f"--dataset_dir={bundles['data']}")
    assert f"has no eval/{record}.json; {remedy}" in line
