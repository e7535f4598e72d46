# SPDX-License-Identifier: Apache-2.0
"""The record goes to JSON and back unchanged, and faults in it are named."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest
from made_up import record

from akd_monai.errors import InputError
from akd_monai.experiments.results import check_results, read_case_rows, read_results, write_results


def test_there_and_back(tmp_path):
    results = record(tmp_path)
    results["systems"][1]["per_case"][2]["hd95_mm"] = math.nan
    results["settings"]["width"] = np.float32(0.5)
    path = write_results(results, tmp_path / "report" / "results.json")
    back = read_results(path)
    assert math.isnan(back["systems"][1]["per_case"][2].pop("hd95_mm"))
    del results["systems"][1]["per_case"][2]["hd95_mm"]
    assert back == results
    assert read_results(path.parent)["seed"] == 7


def test_the_file_is_json_without_absolute_paths(tmp_path):
    results = record(tmp_path)
    results["systems"][0]["per_case"][0]["dice"] = math.nan
    text = write_results(results, tmp_path / "report" / "results.json").read_text()
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no valid JSON"))
    assert plain["systems"][0]["per_case"][0]["dice"] is None
    assert plain["images"]["S3/Case00"]["image"] == os.path.join("..", "data", "Case00.nii.gz")
    assert str(tmp_path) not in text


def test_relative_paths_stay(tmp_path):
    results = record()
    results["images"] = {"S3/Case00": {"image": "a.nii.gz", "label": "b.nii.gz"}}
    text = write_results(results, tmp_path / "results.json").read_text()
    assert json.loads(text)["images"]["S3/Case00"] == {"image": "a.nii.gz", "label": "b.nii.gz"}


def test_order_of_entries_does_not_reach_the_file(tmp_path):
    results = record()
    one = write_results(results, tmp_path / "a.json").read_bytes()
    assert write_results(dict(reversed(results.items())), tmp_path / "b.json").read_bytes() == one


def test_the_record_given_is_left_as_it_is(tmp_path):
    results = record(tmp_path)
    before = json.dumps(results)
    write_results(results, tmp_path / "x" / "results.json")
    assert json.dumps(results) == before


def change(path, value):
    def apply(results):
        *parents, last = path
        for key in parents:
            results = results[key]
        if value is KeyError:
            del results[last]
        else:
            results[last] = value

    return apply


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (change(["target"], KeyError), "the results must have 'target'"),
        (change(["data"], "phantom"), "'data' must be a mapping, got str"),
        (change(["data", "kind"], "phantom"), "kind of data must be one of 'synthetic', 'real', got 'phantom'"),
        (change(["systems"], []), "no system"),
        (change(["systems", 0, "role"], "student"), "role of system 'teacher' must be one of .*, got 'student'"),
        (change(["systems", 0, "per_case"], KeyError), "a system must have 'per_case'"),
        (change(["systems", 0, "key"], "distilled"), "key of its own"),
        (change(["systems", 0, "per_case", 1, "case_id"], "Case00"), "system 'teacher' has case 'S3/Case00' twice"),
        (change(["systems", 0, "per_case", 0, "dice"], KeyError), "a case of system 'teacher' must have 'dice'"),
        (change(["comands"], []), "unknown entry 'comands' of the results. Did you mean 'commands'"),
    ],
)
def test_faults_are_named(fault, message):
    results = record()
    fault(results)
    with pytest.raises(InputError, match=message):
        check_results(results)


def test_what_json_cannot_hold(tmp_path):
    results = record()
    results["settings"]["x"] = {1, 2}
    with pytest.raises(InputError, match="do not fit into JSON"):
        write_results(results, tmp_path / "results.json")
    results["settings"]["x"] = math.inf
    with pytest.raises(InputError, match="do not fit into JSON"):
        write_results(results, tmp_path / "results.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "there are no results"), ("{", "is no valid JSON"), ("[]", "must hold an object at its top level")],
)
def test_unreadable_records(tmp_path, text, message):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path / "results.json")


def test_case_rows_of_the_handler(tmp_path):
    header = "case_id,site,class,dice,hd95_mm,asd_mm,reference_ml,predicted_ml\n"
    (tmp_path / "t.csv").write_text(header + "007,NA,1,0.5,nan,nan,1.0,0.0\n008,,1,nan,1.5,2,1.0,2.0\n")
    one, other = read_case_rows(tmp_path / "t.csv")
    assert (one["case_id"], one["site"], one["class"], one["dice"]) == ("007", "NA", "1", 0.5)
    assert math.isnan(one["hd95_mm"])
    assert math.isnan(other["dice"])
    assert (other["site"], other["asd_mm"]) == ("", 2.0)


def test_tables_that_are_none(tmp_path):
    with pytest.raises(InputError, match="evaluate first"):
        read_case_rows(tmp_path / "absent.csv")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column 'case_id'"):
        read_case_rows(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(InputError, match="not a table of cases"):
        read_case_rows(tmp_path / "t.csv")


def test_the_calibration_error_is_read_where_it_was_written(tmp_path):
    """Older tables have no such column."""
    header = "case_id,site,class,dice,hd95_mm,asd_mm,reference_ml,predicted_ml"
    (tmp_path / "new.csv").write_text(f"{header},ece\nA,NA,gland,0.5,1,1,1,1,0.25\nB,NA,gland,0.5,1,1,1,1,nan\n")
    (tmp_path / "old.csv").write_text(f"{header}\nA,NA,gland,0.5,1,1,1,1\n")
    first, second = read_case_rows(tmp_path / "new.csv")
    assert first["ece"] == 0.25
    assert math.isnan(second["ece"])
    assert "ece" not in read_case_rows(tmp_path / "old.csv")[0]
