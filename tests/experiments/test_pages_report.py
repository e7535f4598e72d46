# SPDX-License-Identifier: Apache-2.0
"""The report of an experiment: complete, self-contained, repeatable, and refused where a table would be wrong."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_pages import CASES, make_pages_study, noisy_dice
from made_up_study import make_study

from akd_monai.errors import InputError
from akd_monai.experiments import rebuild_report
from akd_monai.experiments import report as pages
from akd_monai.experiments._pages import content, outlines, write_study_report
from akd_monai.experiments._plan.cell import Row
from akd_monai.experiments._study import comparisons, table
from akd_monai.experiments._study.study import read_study
from akd_monai.experiments.crossed import crossed_summary

COSTS = {"parameters": 353_545, "gflops": 0.059, "cpu_seconds": 0.25}
SECTIONS = ["answer", "tables", "spread", "cost", "pictures", "curves", "calibration", "run", "definitions"]


class Page(HTMLParser):
    """Collects the tags, links, sections and rows of tables of a page."""

    def __init__(self, path):
        super().__init__()
        self.in_style = False
        self.tags, self.links, self.sections, self.rows, self.words = [], [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "srcset", "action", "data")]
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        self.in_style = tag == "style"
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.in_style:
            return
        self.words.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += f" {data.strip()}"

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def row(self, label):
        """Return the first row of a table that starts with a label."""
        return [" ".join(cell.split()) for cell in next(r for r in self.rows if r and r[0].strip().startswith(label))]


def measured(bundles, size, *_):
    networks = {name: dict(COSTS) for name in bundles}
    return {"networks": networks, "machine": {"cpu": "a made-up processor"}, "identity": {"size": list(size)}}


@contextmanager
def quick():
    """Nothing is timed, and intervals are rough: their values are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "measured_costs", measured)
        for module in (table, comparisons):
            patch.setattr(module, "crossed_summary", partial(crossed_summary, resamples=50))
        yield


def written(out):
    with quick():
        return Page(write_study_report(out))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return make_pages_study(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def page(out):
    return written(out)


def test_pages_are_complete_and_open_offline(out, page):
    report = out / "report"
    assert page.sections == SECTIONS
    # boxes, cost, 3 cases at 2 targets, 2 of curves, reliability
    assert page.tags.count("img") == 1 + 1 + 6 + 2 + 1
    for name in ("index.html", "paper.html"):
        one = Page(report / name)
        text = (report / name).read_text(encoding="utf-8")
        assert "http" not in text.lower()
        assert not {"script", "link", "iframe", "object"} & set(one.tags)
        assert not re.search(r"url\(|@import", text)
        assert str(Path.home()) not in text
        assert str(out) not in text
        for link in one.links:
            is_inside = link.startswith("data:image/png;base64,") or link.removeprefix("#") in one.sections
            assert is_inside or (report / link).is_file(), link
    assert len((report / "index.html").read_bytes()) < 5_000_000


def test_our_mean_stands_beside_the_papers_number(page):
    rows = [Row("BMC", seed, "student", "enet", "distilled", "unetplusplus", 0) for seed in (0, 1)]
    mean = sum(noisy_dice(row, case) for row in rows for case in range(CASES)) / (2 * CASES)
    label, bmc, hk, both = page.row("enet, distilled from unetplusplus")
    assert bmc.startswith(f"{mean:.3f} [")
    assert "against w/o" in label
    assert "against control" in label
    # enet with all terms from unetplusplus at S2, at S6, and their mean
    assert bmc.endswith("paper 0.637")
    assert hk.endswith("paper 0.869")
    assert both.endswith("paper 0.753")
    # the control, and single terms from this teacher, are not in the paper
    assert "paper" not in " ".join(page.row("enet, pre-trained at the sources"))
    assert "paper" not in " ".join(page.row("enet, logits from unetplusplus"))
    assert page.row("unetplusplus, teacher, zero-shot")[1].endswith("paper 0.893")
    assert "Here: a synthetic phantom, slices of 64 × 64, protocol cross_site." in page.text
    assert "real MRI of six sites, slices of 384 × 384, one run" in page.text


def test_answer_counts_and_cautions(page):
    assert "Synthetic data: a phantom, no patients" in page.text
    assert "2 of 2 methods above w/o" in page.text
    assert "1 of 2 folds were run" in page.text
    assert "Slices of 64 × 64 pixels" in page.text


def test_calibration_is_in_percentage_points(page):
    row = Row("HK", 0, "student", "enet", "without", None, 0)
    mean = sum(0.1 * (1 - noisy_dice(Row(**{**vars(row), "seed": s}), c)) for s in (0, 1) for c in range(CASES)) / (
        2 * CASES
    )
    table = [r for r in page.rows if r and r[0].strip() == "enet, w/o distillation" and len(r) == 4]
    assert f"{100 * mean:.2f}" in [cell.strip() for cell in table[-1]]


def test_how_it_was_run(page):
    assert page.row("HK")[:2] == ["HK", "8"]
    assert page.row("learning rate")[1] == "0.01"
    assert page.row("cpu")[1] == "made up"
    assert page.row("time of all cells")[0] == "time of all cells"


def test_equal_results_give_equal_bytes(out, page):
    files = {path: path.read_bytes() for path in (out / "report").rglob("*.*")}
    written(out)
    assert {path: path.read_bytes() for path in (out / "report").rglob("*.*")} == files


def test_the_verb_finds_an_experiment_by_its_folder(out, monkeypatch):
    given = []
    monkeypatch.setattr(pages, "write_study_report", lambda folder: given.append(folder) or folder / "index.html")
    assert rebuild_report(out) == out / "index.html"
    assert given == [out]
    with pytest.raises(InputError, match="pages of an experiment lie in its folder, and output_dir cannot be given"):
        rebuild_report(out, out / "elsewhere")


def test_the_page_on_the_paper_shows_what_was_run(out, page):
    paper = Page(out / "report" / "paper.html")
    assert "distillation#terms#logits#loss#direction = student_teacher" in paper.text
    assert "distillation#terms#affinity#loss#margin = 3" in paper.text
    assert paper.row("logits")[1] == "logits"
    # no expression and no reference of a config
    assert not {"$", "@"} & set(paper.text)


@pytest.mark.fault(
    "Experiments", "a cell is missing when the report is written", injected="a result deleted",
    outcome="refused by the cell's name, on the page too, in place of the earlier tables",
)  # fmt: skip
def test_a_refusal_takes_the_place_of_the_report(tmp_path):
    out = make_study(tmp_path, targets=["HK"], seeds=[0])
    (out / "report" / "tables").mkdir(parents=True)
    (out / "report" / "tables" / "dice.md").write_text("earlier figures")
    cell = "test/HK/fold-0/student-enet/without/seed-0"
    (out / "cells" / cell / "result.json").unlink()
    with pytest.raises(InputError, match=cell):
        write_study_report(out)
    page = Page(out / "report" / "index.html")
    assert "Refused: there is no table, because it would be wrong" in page.text
    assert cell in page.text
    assert "of an earlier state of the experiment are in earlier/" in page.text
    assert not (out / "report" / "tables").exists()
    assert (out / "report" / "earlier" / "tables" / "dice.md").read_text() == "earlier figures"
    with pytest.raises(InputError, match=cell):
        write_study_report(out)
    assert (out / "report" / "earlier" / "tables" / "dice.md").is_file()
    assert not {"table", "img"} & set(page.tags)


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path):
    with pytest.raises(InputError, match=r"holds no experiment\.json"):
        write_study_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_seed_of_real_cases_under_loso_at_another_site_without_outputs(tmp_path):
    elsewhere = {"sites": ["HK", "BMC", "elsewhere"], "targets": ["elsewhere"]}
    out = make_pages_study(tmp_path, synthetic=False, protocol="loso", folds=1, controls=[], seeds=[0], **elsewhere)
    for name in ("*_pred.nii.gz", "calibration.csv", "history.jsonl"):
        for file in out.rglob(name):
            file.unlink()
    page = written(out)
    assert "nothing is claimed" in page.text
    assert "Data from a folder of real cases" in page.text
    assert "Case00_pred.nii.gz could not be read, so its picture is skipped" in page.text
    assert "No training was recorded." in page.text
    assert "paper" not in " ".join(page.row("enet, w/o distillation"))
    assert "In italics" not in page.text
    assert "Leave one site out" in page.text
    assert page.row("enet (student)")[1] == "353,545"


def test_pictures_end_where_the_page_would_grow_too_large(out, monkeypatch):
    study = read_study(out)
    one = outlines.picture_groups(study.matrix, study.cells, lambda png: "x" * 100)
    assert [len(group["pictures"]) for group in one[0]] == [6]
    titles = [picture["title"].split(":")[0] for picture in one[0][0]["pictures"]]
    assert titles == ["worst", "median", "best"] * 2
    monkeypatch.setattr(outlines, "MOST_CHARACTERS", 350)
    groups, said = outlines.picture_groups(study.matrix, study.cells, lambda png: "x" * 100)
    assert [len(group["pictures"]) for group in groups] == [3]
    assert said == ["Outlines of enet at HK are left out to keep the page small."]
