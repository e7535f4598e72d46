# SPDX-License-Identifier: Apache-2.0
"""Tables of an experiment and their files: figures by hand in NumPy, captions, notes, Markdown, CSV, LaTeX."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from made_up_study import CASES, level, make_study

from akd_monai.experiments._study.latex import latex_string
from akd_monai.experiments._study.study import read_study
from akd_monai.experiments._study.table import study_tables
from akd_monai.experiments._study.written import write_tables


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return read_study(make_study(tmp_path_factory.mktemp("study"), by_site))


@pytest.fixture(scope="module")
def tables(study):
    return study_tables(study)


@pytest.fixture(scope="module")
def written(study, tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    files = write_tables(study, folder, tables)
    assert all(file.parent == folder / "tables" for file in files)
    return {file.name: file.read_text(encoding="utf-8") for file in files}


def by_site(row, case):
    return level(row, case) + (0.02 if row.target == "HK" else 0.0)


def row_of(table, label):
    return next(row for row in table.rows if row.line.label == label)


def test_there_is_a_row_for_each_way_to_learn_and_a_table_for_each_metric(tables):
    assert [table.metric.key for table in tables] == ["dice", "hd95_mm", "asd_mm", "ece"]
    assert tables[0].columns == ("BMC", "HK", "mean")
    assert [row.line.label for row in tables[0].rows] == [
        "enet, w/o distillation",
        "enet, pre-trained at the sources",
        "enet, distilled from unetplusplus",
        "enet, logits from unetplusplus",
        "unetplusplus, teacher, zero-shot",
        "unetplusplus, teacher, at its own sites",
    ]


def test_a_cell_is_the_mean_over_cases_and_seeds_and_the_last_that_over_sites(tables):
    row = row_of(tables[0], "enet, distilled from unetplusplus")
    at_bmc = np.mean([[0.65 + 0.01 * case + 0.004 * seed for case in range(CASES)] for seed in (0, 1)])
    assert [cell.mean for cell in row.cells] == pytest.approx([at_bmc, at_bmc + 0.02, at_bmc + 0.01])
    assert [cell.cases for cell in row.cells] == [CASES, CASES, 2 * CASES]
    assert all(cell.runs == 2 for cell in row.cells)
    # made-up HD95 is 10 - 8 Dice
    assert row_of(tables[1], row.line.label).cells[0].mean == pytest.approx(10 - 8 * at_bmc)
    # a teacher's own sites: two validation cases at each of two sites
    assert row_of(tables[0], "unetplusplus, teacher, at its own sites").cells[0].cases == 4


def test_only_what_is_shown_to_be_better_is_bold(tables):
    bold = [row.line.label for row in tables[0].rows if row.is_bold]
    assert bold == ["enet, pre-trained at the sources", "enet, distilled from unetplusplus"]


def test_a_table_says_what_it_is_made_of(tables):
    assert tables[0].caption.startswith(
        "Dice, class prostate. SYNTHETIC phantom, no patients; protocol cross_site; 16 test cases at 2 target sites; 1 of 2 "
        "folds; seeds 0, 1."
    )
    assert tables[1].caption.startswith("HD95 in mm")
    assert tables[0].notes[:2] == (
        "enet: 1 of 2 methods above w/o by the mean; shown by test and interval: 1 above, 1 below.",
        "enet: 0 of 2 methods above the control pre-trained at the sources by the mean; shown by test and interval: 0 "
        "above, 2 below.",
    )
    assert tables[1].notes[0] == (
        "enet: 1 of 2 methods better than w/o by the mean; shown by test and interval: 1 better, 1 worse."
    )


def test_real_cases_are_called_real(tmp_path):
    study = read_study(make_study(tmp_path, synthetic=False, seeds=[0]))
    table = study_tables(study)[0]
    assert "Real cases; protocol" in table.caption
    assert "phantom" not in table.caption
    assert not any(row.is_bold for row in table.rows)
    assert "No row is called better or worse: 1 seed is too few for a claim, which takes" in "".join(table.notes)


def test_undefined_figures_are_said(tmp_path):
    def dice(row, case):
        return math.nan if case == 0 and row.method == "logits" else level(row, case)

    table = study_tables(read_study(make_study(tmp_path, dice)))[0]
    # one case at each of two sites, in each of two seeds
    assert row_of(table, "enet, logits from unetplusplus").cells[-1].undefined == 4
    assert any(note.startswith("4 values are undefined") for note in table.notes)


def test_markdown_has_the_figures_and_the_facts(written):
    lines = written["dice.md"].splitlines()
    row = next(line for line in lines if line.startswith("| enet, distilled"))
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    assert cells[1].startswith("0.687 [")
    assert cells[3].startswith("**0.697** [")
    assert r"\| [" in cells[3]
    assert cells[4].startswith("+0.050 [+0.050, +0.050]")
    assert cells[5] == "< 0.001"
    assert cells[6].startswith("−0.050 [")
    facts = (
        "experiment made-up · SYNTHETIC phantom, no patients · protocol cross_site · 16 test cases at 2 target sites"
    )
    assert lines[-1].startswith(facts)
    assert "python -m akd_monai experiment made-up.json · akd_monai 0.1" in lines[-1]


def test_csv_has_a_record_for_each_cell_with_all_its_digits(written, tmp_path, tables):
    file = tmp_path / "dice.csv"
    file.write_text(written["dice.csv"])
    frame = pd.read_csv(file)
    assert len(frame) == 6 * 3
    mean = frame[(frame["method"] == "distilled") & (frame["site"] == "mean")].iloc[0]
    summary = row_of(tables[0], "enet, distilled from unetplusplus").cells[-1]
    assert mean["mean"] == summary.mean
    assert (mean["over_runs_and_cases_low"], mean["over_runs_and_cases_high"]) == summary.over_runs_and_cases
    assert mean["minus_without_mean"] == pytest.approx(0.05)
    assert mean["minus_control_mean"] == pytest.approx(-0.05)
    assert (mean["minus_without_outcome"], mean["minus_control_outcome"], mean["bold"]) == ("above", "below", True)
    assert mean["minus_without_p_holm"] >= mean["minus_without_p"]
    # comparisons are made for the mean over sites
    assert frame[frame["site"] != "mean"]["minus_without_mean"].isna().all()
    assert set(frame["data"]) == {"synthetic"}
    assert set(frame["protocol"]) == {"cross_site"}


def depth(latex):
    """Return the depth of braces at every place; escaped ones are none."""
    # a backslash takes the character after it: a brace, the second backslash of a line break, the start of a name
    bare = re.sub(r"\\.", "", latex)
    return np.cumsum([{"{": 1, "}": -1}.get(character, 0) for character in bare])


@pytest.mark.parametrize("name", ["dice", "hd95", "asd", "ece", "cost"])
def test_latex_is_balanced_escaped_and_has_equal_rows(written, name):
    latex = written[f"{name}.tex"]
    assert depth(latex).min() == 0
    assert depth(latex)[-1] == 0
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2
    body = latex.split(r"\begin{tabular}")[1].split(r"\end{tabular}")[0]
    columns = len(body.split("}")[0].removeprefix("{"))
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {columns - 1}
    words = "\n".join(latex.splitlines()[1:])
    assert not re.search(r"(?<!\\)[%#_^]|−|×", words)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in body


def test_latex_marks_what_is_shown(written):
    latex = written["dice.tex"]
    row = next(line for line in latex.splitlines() if line.startswith("enet, distilled"))
    assert r"\shortstack{\textbf{0.697}\\{\scriptsize [" in row
    assert latex.count(r"\textbf") == 2
    assert "SYNTHETIC phantom" in latex


def test_all_that_latex_reads_as_a_command_is_escaped():
    assert latex_string(r"a_b%c&d#e$f{g}h\i~j^k") == (
        r"a\_b\%c\&d\#e\$f\{g\}h\textbackslash{}i\textasciitilde{}j\textasciicircum{}k"
    )


def test_cost_has_a_row_for_each_way_to_learn(written, tmp_path):
    file = tmp_path / "cost.csv"
    file.write_text(written["cost.csv"])
    frame = pd.read_csv(file).set_index("label")
    # two targets, two seeds, one fold; each cell took 10 s and 5e8 bytes
    row = frame.loc["enet (student), distilled from unetplusplus"]
    assert (row["trainings"], row["seconds"], row["cpu_seconds"], row["parameters"]) == (4, 10.0, 9.0, 353545)
    assert row["peak_memory_gib"] == pytest.approx(5e8 / 2**30)
    assert len(frame) == 6


def test_answers_stand_beside_the_tables(written):
    assert written["answers.md"].startswith("- **enet: distillation helped with some methods and hurt with others.**")
    assert "SYNTHETIC phantom" in written["answers.md"]


def test_several_classes_have_tables_and_files_of_their_own(tmp_path):
    out = make_study(tmp_path, seeds=[0], targets=["HK"])
    for file in out.glob("cells/test/**/per_case.csv"):
        frame = pd.read_csv(file)
        both = [frame, frame.assign(**{"class": "peripheral zone", "dice": 0.25})]
        pd.concat(both).to_csv(file, index=False)
    study = read_study(out)
    tables = [table for table in study_tables(study) if table.metric.key == "dice"]
    assert [table.class_name for table in tables] == ["peripheral zone", "prostate"]
    assert [row.cells[-1].mean for row in tables[0].rows] == pytest.approx([0.25] * 6)
    names = {file.name for file in write_tables(study, tmp_path / "report", tables)}
    assert {"dice-peripheral-zone.md", "dice-prostate.csv"} < names


def test_without_a_method_there_is_a_table_and_no_answer(tmp_path):
    study = read_study(make_study(tmp_path, methods={}, controls=["teacher_zero_shot"]))
    table = study_tables(study)[0]
    assert [row.line.method for row in table.rows] == ["without", "teacher_zero_shot"]
    assert table.notes == ()
    files = write_tables(study, tmp_path / "report", [table])
    assert files[0].read_text(encoding="utf-8").startswith("- No method was run.")
