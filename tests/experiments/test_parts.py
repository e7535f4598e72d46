# SPDX-License-Identifier: Apache-2.0
"""An experiment of parts: each has a protocol and a folder of its own, and the report has them side by side."""

from __future__ import annotations

import contextlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_study import level, make_study

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.experiments import _pages as pages
from akd_monai.experiments import _run, experiment_cells, experiment_estimate, experiment_table, run_experiment
from akd_monai.experiments._pages import paper, write_parts_report
from akd_monai.experiments._plan.cell import is_done
from akd_monai.experiments._plan.parts import cells_of, open_experiment
from akd_monai.experiments._shared import take_over
from akd_monai.experiments._study.study import read_study
from akd_monai.files import write_json

COMMON = {
    "sites": ["RUNMC", "BMC", "HK"],
    "targets": ["HK"],
    "teachers": ["unetplusplus"],
    "students": ["enet"],
    "seeds": [0],
    "controls": ["teacher_zero_shot"],
}
NEAR = {**COMMON, "protocol": "cross_site", "folds": 2, "run_folds": [0], "methods": {"emkd": {"recipe": "emkd"}}}
FAR = {**COMMON, "protocol": "loso", "methods": {"mixstyle": {"generalise": "mixstyle"}}}
# teacher, zero-shot; plain student and another, each trained and tested
COUNT = 6
TEACHER = "train/HK/teacher-unetplusplus/sources/seed-0"


@pytest.fixture
def file(tmp_path):
    for site in COMMON["sites"]:
        for number in range(6):
            for suffix in ("", "_segmentation"):
                path = tmp_path / "data" / site / f"Case{number:02}{suffix}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    write_json(tmp_path / "near.json", NEAR)
    write_json(tmp_path / "far.json", FAR)
    return write_json(tmp_path / "both.json", {"parts": ["near.json", "far.json"], "dataset_dir": "data"})


@pytest.fixture
def ran(monkeypatch):
    """Write the results of cells in place of running them; return what was run in which folder."""
    names = []

    def run_cells(cells, folder, report, *, devices, machine):
        for cell in cells:
            write_json(cell.record, cell.identity())
            write_json(cell.result, {"cell": cell.name})
            names.append((folder.name, cell.name))
            report(cell, 1.0)
        return {}

    monkeypatch.setattr(_run, "run_cells", run_cells)
    monkeypatch.setattr(_run, "warm_process", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(pages, "write_study_report", lambda folder: folder / "report" / "index.html")
    return names


def test_each_part_has_its_cells_in_a_folder_of_its_own(file, tmp_path):
    table = experiment_table(file)
    assert [name.partition("/")[0] for name, _ in table] == ["near"] * COUNT + ["far"] * COUNT
    assert all(not done for _, done in table)
    lines = experiment_cells(file)
    assert len(lines) == 2 * COUNT
    assert (tmp_path / "both" / "near" / "bundles" / "student-enet" / "configs" / "method_emkd.json").is_file()
    assert (tmp_path / "both" / "far" / "bundles" / "student-enet" / "configs" / "method_mixstyle.json").is_file()
    assert [line.partition(":")[0] for line in experiment_estimate(file).splitlines()] == ["near", "far"]


def test_patterns_choose_within_parts_with_their_names_or_without(file):
    assert [name for name, _ in experiment_table(file, only=["far/*/mixstyle/*"])] == [
        "far/train/HK/fold-0/student-enet/mixstyle/seed-0",
        "far/test/HK/fold-0/student-enet/mixstyle/seed-0",
    ]
    both = [name for name, _ in experiment_table(file, only=["train/*/without/*"])]
    assert both == [f"{part}/train/HK/fold-0/student-enet/without/seed-0" for part in ("near", "far")]
    assert len(experiment_table(file, only=["f*/HK/*"])) == COUNT
    with pytest.raises(UnknownNameError, match="unknown cell 'nar/train/"):
        experiment_table(file, only=["near/*", "nar/train/*"])


def test_what_a_part_has_done_is_not_run_by_the_next(file, ran, tmp_path, capsys):
    folder = run_experiment(file)
    assert folder == tmp_path / "both"
    assert ran.count(("near", TEACHER)) == 1
    # the teacher learns at the same sources under both protocols, and the test of it does not
    assert ("far", TEACHER) not in ran
    assert len(ran) == 2 * COUNT - 1
    assert all(done for _, done in experiment_table(file))
    assert json.loads((folder / "experiment.json").read_text()) == {"name": "both", "parts": ["near", "far"]}
    before = len(ran)
    run_experiment(file)
    assert len(ran) == before
    assert f"{COUNT} of {COUNT} cells of far were done before" in capsys.readouterr().out


def test_a_cell_is_taken_over_only_if_command_settings_and_bundle_are_the_same(file, ran):
    run_experiment(file, only=["near/*"])
    experiment_cells(file)
    near, far = cells_of(open_experiment(file).parts)
    assert not any(is_done(cell) for cell in far)
    teacher = next(cell for cell in far if cell.name == TEACHER)
    record = Path(f"{teacher.start_in}.json")
    content = record.read_text()
    write_json(record, {**json.loads(content), "bundle": "other"})
    assert take_over(far, near) == []
    record.write_text(content)
    half = Path(f"{teacher.folder}.half")
    half.mkdir(parents=True)
    (half / "rest-of-a-killed-copy").touch()
    assert take_over(far, near) == [TEACHER]
    assert sorted(path.name for path in Path(teacher.folder).iterdir()) == ["cell.json", "result.json"]
    assert is_done(teacher)
    assert take_over(far, near) == []
    # a cell that was begun is continued
    Path(teacher.result).unlink()
    assert take_over(far, near) == []


MISTAKES = {
    "one part": ({"parts": ["near.json"]}, "parts must be two files or more"),
    "not there": ({"parts": ["near.json", "fer.json"]}, "unknown part 'fer.json' of .*Did you mean 'far.json'"),
    "itself parts": ({"parts": ["near.json", "both.json"]}, "part 'both.json' lists parts itself"),
    "another key": ({"parts": ["near.json", "far.json"], "seeds": [0]}, "unknown entry 'seeds' of experiment"),
    "a path": ({"parts": ["near.json", "../far.json"]}, "part '../far.json' cannot be the name of a folder"),
    "no list": ({"parts": "near.json"}, "parts must be a list of names"),
}


@pytest.mark.parametrize(("content", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_a_list_of_parts(file, tmp_path, content, message):
    wrong = write_json(tmp_path / "wrong.json", content)
    with pytest.raises(InputError, match=message):
        open_experiment(wrong, dataset_dir=tmp_path / "data")


def test_a_mistake_in_a_later_part_is_said_before_the_first_runs(file, ran, tmp_path):
    write_json(tmp_path / "far.json", {**FAR, "settings": {"epoch": 3}})
    with pytest.raises(InputError, match="unknown config id 'epoch'"):
        run_experiment(file)
    assert ran == []


class Tables(HTMLParser):
    """The words of each row of each table of a page."""

    def __init__(self, page):
        super().__init__()
        self.tables: list[list[str]] = []
        self.in_row = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append("")
            self.in_row = True

    def handle_endtag(self, tag):
        if tag == "tr":
            self.in_row = False

    def handle_data(self, data):
        if self.in_row:
            self.tables[-1][-1] += f" {data.strip()}"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("table3")
    methods = {"emkd": {"recipe": "emkd"}, "mskd-style": {"recipe": "mskd-style"}}
    near = make_study(root / "a", level, methods=methods, controls=["teacher_zero_shot"])
    loso = {"protocol": "loso", "folds": 1, "controls": ["teacher_zero_shot"], "teachers": ["unetplusplus"]}
    baselines = {"saml": {"generalise": "saml"}, "mixstyle": {"generalise": "mixstyle"}, "distilled": {}}
    far = make_study(root / "b", level, methods=baselines, **loso)
    out = root / "table3"
    out.mkdir()
    for source, name in ((near, "distillation"), (far, "generalisation")):
        source.rename(out / name)
    write_json(out / "experiment.json", {"name": "table3", "parts": ["distillation", "generalisation"]})
    return write_parts_report(out)


def test_the_report_has_a_table_for_each_part_and_no_row_in_both(report):
    page = report.read_text(encoding="utf-8")
    near, far = (" ".join(rows) for rows in Tables(page).tables)
    for name in ("emkd from unetplusplus", "mskd-style from unetplusplus", "MSKD, as arXiv", "EMKD, as arXiv"):
        assert name in near
        assert name not in far
    for name in ("enet, saml", "enet, mixstyle", "SAML, as arXiv", "DRDG, as arXiv"):
        assert name in far
        assert name not in near
    assert page.count("Synthetic data: a phantom") == 1
    assert "Its rows are compared with each other, and with no row of another part" in page
    assert not re.search(r"https?://|<script|src=\"(?!data:)", page)
    for link in re.findall(r'href="([^"#]+)"', page):
        assert link in ("../distillation/report/index.html", "../generalisation/report/index.html")


def test_rows_of_the_paper_are_quoted_without_intervals_at_the_targets(report):
    near, far = Tables(report.read_text(encoding="utf-8")).tables
    # BMC and HK, and their mean
    emkd = next(row for row in near if "EMKD, as" in row).split()
    assert emkd[-3:] == ["0.524", "0.711", f"{(0.524 + 0.711) / 2:.3f}"]
    saml = next(row for row in far if "SAML, as" in row).split()
    assert saml[-3:] == ["0.875", "0.883", "0.879"]


def test_baselines_and_distillation_have_answers_of_their_own(report):
    page = report.read_text(encoding="utf-8")
    assert "enet: baselines of generalisation hurt" in page
    assert "2 of 2 baselines have a lower" not in page
    assert "0 of 2 baselines have a higher mean Dice than the student alone" in page
    assert "0 of 2 baselines of generalisation above w/o by the mean" in page
    assert "what the literature calls DeepAll" in page
    assert "saml: batches of 15 slices, which are those of its config" in page


def test_the_tables_are_a_file_too(report):
    lines = (report.parent / "tables" / "dice.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# table3", "## distillation", "## generalisation"]
    assert sum("SYNTHETIC phantom" in line for line in lines) >= 2
    quoted = [line for line in lines if ", as arXiv" in line]
    assert [line.split(",")[0].removeprefix("| ") for line in quoted] == ["MSKD", "EMKD", "SAML", "DRDG"]
    assert any("They solve two tasks" in line for line in lines)


def test_parts_of_one_protocol_quote_nothing(tmp_path):
    out = tmp_path / "both"
    out.mkdir()
    for name in ("few", "many"):
        make_study(tmp_path / name, seeds=[0], targets=["HK"], methods={}).rename(out / name)
    write_json(out / "experiment.json", {"name": "both", "parts": ["few", "many"]})
    page = write_parts_report(out).read_text(encoding="utf-8")
    assert "as arXiv" not in page
    assert "They solve two tasks" not in page


def test_a_part_that_is_not_complete_is_refused_by_its_cell(tmp_path):
    out = tmp_path / "both"
    out.mkdir()
    make_study(tmp_path / "few", seeds=[0], targets=["HK"], methods={}).rename(out / "few")
    next((out / "few" / "cells").rglob("result.json")).unlink()
    write_json(out / "experiment.json", {"name": "both", "parts": ["few"]})
    with pytest.raises(InputError, match=r"1 of \d+ cells are not done: t"):
        write_parts_report(out)


def test_a_row_that_learned_by_another_baseline_is_refused(tmp_path):
    methods = {"saml": {"generalise": "saml"}}
    loso = {"protocol": "loso", "folds": 1, "controls": [], "methods": methods, "seeds": [0], "targets": ["HK"]}
    out = make_study(tmp_path, level, **loso)
    for cell, value in (("saml", None), ("without", "mixstyle")):
        path = out / "cells" / "train" / "HK" / "fold-0" / "student-enet" / cell / "seed-0" / "eval" / "training.json"
        before = path.read_text()
        write_json(path, {**json.loads(before), "generalisation": value})
        with pytest.raises(
            InputError, match=rf"cell train/HK/.*/{cell}/seed-0 learned by (no baseline|mixstyle) in place"
        ):
            read_study(out)
        path.write_text(before)


def test_every_printed_method_belongs_to_a_protocol():
    assert paper.PRINTED_UNDER.keys() == paper.PRINTED_BESIDE.keys()
    assert set(paper.PRINTED_UNDER.values()) == {"cross_site", "loso"}
    # the means that the notes name
    assert sum(paper.PRINTED_BESIDE["EMKD"]) / 6 == pytest.approx(0.632, abs=5e-4)
    plain = [paper.paper_dice("enet", site).dice for site in ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK")]
    assert sum(plain) / 6 == pytest.approx(0.685, abs=5e-4)
