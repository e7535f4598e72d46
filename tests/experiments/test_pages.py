# SPDX-License-Identifier: Apache-2.0
"""The pages of an experiment: complete in themselves, readable in both colour schemes, and refused with their reason."""

from __future__ import annotations

import re

import pytest
from browser import Browser, find_browser
from made_up_pages import make_pages_study

from akd_monai.errors import InputError
from akd_monai.experiments._pages import write_study_report
from akd_monai.experiments.report import rebuild_report


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = make_pages_study(tmp_path_factory.mktemp("pages"))
    write_study_report(folder)
    return folder


def test_the_page_holds_answer_tables_paper_and_controls(out):
    page = (out / "report" / "index.html").read_text()
    text = re.sub(r"<[^>]+>", " ", re.sub(r'"data:[^"]*"', "", page))
    assert re.search(r"enet: (distillation|no difference)", text)
    assert "SYNTHETIC" in text
    assert "w/o distillation" in text
    assert "pre-trained at the sources" in text
    assert re.search(r"\d of 2 methods above w/o by the mean", text)
    # the paper's ENet without distillation at S6, which is HK
    assert "0.772" in text
    assert "arXiv 2404.02738" in text
    assert page.count("<img") >= 6
    assert (out / "report" / "tables" / "dice.csv").is_file()
    assert list((out / "report" / "cards").glob("*.md"))


def test_pages_are_complete_in_themselves_and_repeat_to_the_byte(out):
    pages = [out / "report" / name for name in ("index.html", "paper.html")]
    before = [page.read_bytes() for page in pages]
    for content in before:
        assert not re.search(rb"(?:src|href)=[\"']?(?!data:|#|paper\.html|index\.html)", content)
        assert b"<script" not in content
        assert len(content) < 5e6
    # the verb for reports recognises the folder
    assert rebuild_report(out) == pages[0]
    assert [page.read_bytes() for page in pages] == before


def test_the_page_on_the_paper_names_the_reading_that_was_run(out):
    page = (out / "report" / "paper.html").read_text()
    assert "Gram" in page
    assert "student_teacher" in page


def test_a_refused_report_stands_in_place_of_the_earlier_one(out, tmp_path):
    folder = make_pages_study(tmp_path)
    write_study_report(folder)
    (folder / "cells" / "test" / "HK" / "fold-0" / "student-enet" / "without" / "seed-0" / "result.json").unlink()
    with pytest.raises(InputError, match=r"1 of .* cells are not done: test/HK"):
        write_study_report(folder)
    page = (folder / "report" / "index.html").read_text()
    assert "cells are not done" in page
    assert "<table" not in page


@pytest.mark.skipif(find_browser() is None, reason="no Chromium was found")
def test_a_browser_shows_the_pages_in_both_schemes_without_complaint(out, tmp_path):
    backgrounds = set()
    with Browser(find_browser(), tmp_path) as browser:
        for scheme in ("light", "dark"):
            for name in ("index.html", "paper.html"):
                shown = browser.open(out / "report" / name, scheme)
                assert all(shown["images"])
                assert shown["complaints"] == []
                assert [url for url in shown["asked"] if not url.startswith(("file:", "data:"))] == []
                assert shown["wide"] == 0
                backgrounds.add((scheme, shown["background"]))
    assert len({colour for _, colour in backgrounds}) == 2
