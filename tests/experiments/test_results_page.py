# SPDX-License-Identifier: Apache-2.0
"""The page of a finished experiment below docs/results: made from its records, and refused where they are not complete."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from made_up_study import make_study

from akd_monai.experiments._study.study import read_study
from akd_monai.experiments._study.written import write_tables

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import experiment_page


def made(tmp_path):
    out = make_study(tmp_path)
    write_tables(read_study(out), out / "report")
    return out


def test_the_page_has_the_answer_the_tables_and_how_it_was_run(tmp_path):
    out = made(tmp_path)
    result = next(out.rglob("result.json"))
    kept = json.loads(result.read_text())
    result.write_text(json.dumps({**kept, "starts": 2}))
    target = tmp_path / "page.md"
    words = [str(out), "--data", "`a command`", "--note", "A sentence.", "--page", str(target)]
    assert experiment_page.main(words) == 0
    text = target.read_text()
    assert text.startswith("# made-up\n\nThe cases are **synthetic**")
    assert "A sentence.\n\nCases: `a command`" in text
    # 0.60 + 0.01 * 3.5 + 0.004 * 0.5 by the made-up level of the plain student
    assert "| enet, w/o distillation | 0.637 " in text
    assert "experiment made-up --dataset_dir DATA" in text
    assert "| seeds | 0, 1 |" in text
    assert "| cpu | made up |" in text
    assert f"| cells that were started again | 1: {kept['cell']} |" in text
    # what every table is signed with stands in the last table alone
    assert text.count("made up") == 1


def test_real_cases_are_not_called_synthetic_and_a_file_is_named(tmp_path):
    out = make_study(tmp_path, synthetic=False)
    study = read_study(out)
    write_tables(study, out / "report")
    text = experiment_page.page(study, out, "two sites", file="benchmarks/two_sites.json")
    assert "The cases are real MRI." in text
    assert "synthetic" not in text
    assert "experiment benchmarks/two_sites.json --dataset_dir DATA" in text


def test_an_incomplete_experiment_has_no_page(tmp_path, capsys):
    out = made(tmp_path)
    result = next(out.rglob("result.json"))
    cell = json.loads(result.read_text())["cell"]
    result.unlink()
    target = tmp_path / "page.md"
    assert experiment_page.main([str(out), "--data", "x", "--page", str(target)]) == 2
    assert cell in capsys.readouterr().err
    assert not target.exists()


def test_parts_have_a_page_each_and_one_that_leads_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_page, "RESULTS", tmp_path / "pages")
    (tmp_path / "pages").mkdir()
    part = made(tmp_path)
    outer = part.rename(tmp_path / "moved")
    joint = tmp_path / "joint"
    (joint / "report" / "tables").mkdir(parents=True)
    outer.rename(joint / "made-up")
    (joint / "report" / "tables" / "dice.md").write_text("# joint\n\nNever ranked together.\n", encoding="utf-8")
    assert experiment_page.main([str(joint), "--data", "x", "--file", "table"]) == 0
    text = (tmp_path / "pages" / "joint.md").read_text()
    assert text == "# joint\n\nEach part in full: [made-up](made-up.md).\n\nNever ranked together.\n"
    assert "experiment table --dataset_dir DATA --output_dir joint" in (tmp_path / "pages" / "made-up.md").read_text()
