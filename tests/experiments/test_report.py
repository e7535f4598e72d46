# SPDX-License-Identifier: Apache-2.0
"""The page: complete, self-contained, repeatable, and honest about what it shows."""

from __future__ import annotations

import html
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up import SHAPE, record, rows, save

from akd_monai.errors import InputError
from akd_monai.experiments._templates import data_uri
from akd_monai.experiments.report import rebuild_report, render_page, write_report


class Page(HTMLParser):
    """Collects tags, texts by element, and notices elements that are not closed."""

    VOID = ("meta", "img", "br", "link", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.sections, self.texts = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "action", "srcset", "data")]
        if tag == "section":
            self.sections.append(attributes["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def test_page_is_whole_and_opens_offline(tmp_path):
    path = write_report(record(tmp_path), tmp_path / "report")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path.name == "index.html"
    assert sorted(p.name for p in path.parent.iterdir()) == ["index.html", "results.json"]
    assert not page.open
    assert page.sections == ["finding", "scores", "cost", "curves", "pictures", "cases", "run", "definitions"]
    assert page.tags.count("img") == 3  # curves and two cases
    assert "http" not in text.lower()
    assert "url(" not in text
    assert "@import" not in text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} == set(page.sections)
    assert len(text) < 5_000_000


def test_figures_of_the_tables():
    page = Page(render_page(record(), "."))
    # Means of 0.60, 0.63 ... 0.81 and, one percent apart, of 0.50 ... 0.57.
    assert "0.705" in page.text
    assert "0.535" in page.text
    assert "n = 8" in page.text
    # 8 differences of one sign: p = 2/256, times three comparisons.
    assert "0.008" in page.text
    assert "0.023" in page.text
    assert "353,545" in page.text
    assert "2.112" in page.text
    assert "1 × 1 × 384 × 384" in page.text
    assert "1.47 MB" in page.text
    assert "Protocol teacher trained at the source sites, students at the target site" in page.text
    assert page.text.count("cross_site") == 1  # where the next words explain it
    assert "not domain generalisation" in page.text
    assert "mlflow ui --backend-store-uri sqlite:///mlruns.db --host 127.0.0.1" in page.text
    assert "Validation cases are training cases." in page.text
    assert "Reduced for this run: 3 epochs instead of 100" in page.text
    assert "features 8, 16" in page.text
    assert "amp no" in page.text


@pytest.mark.parametrize(
    ("gain", "cases", "headline"),
    [
        (0.05, 8, "Distillation helped on these cases"),
        (-0.05, 8, "Distillation hurt on these cases"),
        (0.0, 9, "No difference in Dice shown"),
        (0.05, 5, "Too few cases to tell"),
        (0.05, 1, "Too few cases to tell"),
    ],
)
def test_finding_follows_from_the_interval(gain, cases, headline):
    text = Page(render_page(record(gain=gain, cases=cases), ".")).text
    assert headline in text
    assert ("Only" in text) == (cases < 10)


def test_a_distance_that_is_worse_does_not_contradict_the_finding_by_dice():
    results = record(gain=0.0, cases=9)
    for row in results["systems"][2]["per_case"]:
        row["hd95_mm"] += 1
    text = Page(render_page(results, ".")).text
    assert "No difference in Dice shown" in text
    (row,) = re.findall(r"HD95 \(mm\) \+1\.00 [^A]*", text)
    assert row.split("ENet")[0].strip().endswith("worse")
    caption = text.partition("Distilled minus alone")[2].partition("HD95")[0]
    assert "read off the interval over cases and is no test" in caption
    assert "Difference by the interval" in caption


def test_without_a_pair_the_page_says_that_nothing_was_compared():
    results = record()
    results["systems"] = results["systems"][:1]
    text = Page(render_page(results, ".")).text
    assert "Not compared" in text
    assert "Paired differences" not in text


def test_synthetic_and_real_data_cannot_be_mistaken():
    results = record()
    synthetic = Page(render_page(results, ".")).text
    results["data"]["kind"] = "real"
    real = Page(render_page(results, ".")).text
    assert "Synthetic data: a phantom, no patients" in synthetic
    assert "Synthetic" not in real
    assert "real cases" in real


def test_undefined_is_never_shown_as_a_figure():
    results = record()
    for row in results["systems"][1]["per_case"]:
        row.update({"dice": 0.0, "hd95_mm": math.nan, "asd_mm": math.nan})
    page = Page(render_page(results, "."))
    assert "n = 0, 8 undefined" in page.text
    assert "no case with a defined value" in page.text
    assert "nan" not in page.text.lower().split()
    assert "0.00 0.00" not in page.text


@pytest.mark.fault(
    "Wrong input",
    "markup in names of a report",
    injected="`<script>` and others in titles, labels and cases",
    outcome="escaped",
)
def test_names_are_escaped():
    results = record()
    for system in results["systems"]:
        system["per_case"] = [
            {**row, "case_id": f"<script>alert({i})</script>&", "site": ""} for i, row in enumerate(rows([0.5, 0.6]))
        ]
        system["label"] += " <b>"
    results["title"] = '"><img src=x>'
    text = render_page(results, ".")
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert html.escape("<script>alert(0)</script>&") in text
    assert "&& echo <done>" in html.unescape(text)
    assert "<done>" not in text


def test_same_results_same_bytes(tmp_path):
    results = record(tmp_path)
    path = write_report(results, tmp_path / "one")
    kept = [path.read_bytes(), path.with_name("results.json").read_bytes()]
    again = write_report(dict(reversed(results.items())), tmp_path / "one")
    assert [again.read_bytes(), again.with_name("results.json").read_bytes()] == kept
    rebuilt = rebuild_report(path.with_name("results.json"))
    assert [rebuilt.read_bytes(), rebuilt.with_name("results.json").read_bytes()] == kept
    elsewhere = rebuild_report(path.parent, tmp_path / "deeper" / "two")
    assert elsewhere.read_bytes() == kept[0]
    assert elsewhere.parent == tmp_path / "deeper" / "two"
    results["seed"] = 8
    assert write_report(results, tmp_path / "one").read_bytes() != kept[0]


@pytest.mark.fault(
    "Privacy",
    "a report is passed on",
    injected="paths of images in its record",
    outcome="not on the page",
)
def test_no_path_reaches_the_page(tmp_path):
    results = record(tmp_path)
    Path(results["images"]["S3/Case00"]["image"]).unlink()
    text = write_report(results, tmp_path / "report").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "Case00.nii.gz could not be read" in text


def test_a_bare_record_makes_a_page():
    results = record(cases=1)
    for key in ("reduced", "settings", "commands", "warnings", "mlflow"):
        del results[key]
    del results["data"]["splits"]
    for system in results["systems"]:
        system["per_case"] = [{"case_id": "a", "dice": 0.5, "hd95_mm": 1.0, "asd_mm": 0.5}]
        del system["profile"], system["history"]
    page = Page(render_page(results, "."))
    assert "Nothing was measured." in page.text
    assert "No training was recorded." in page.text
    assert "There are no pictures" in page.text
    assert "no interval from a single case" in page.text


def test_an_unknown_protocol_is_named_but_not_explained():
    results = record()
    results["protocol"] = "my own"
    assert "my own" in Page(render_page(results, ".")).text


def test_a_date_stands_there_only_if_it_was_given():
    results = record()
    assert not re.search(r"20\d\d-\d\d", Page(render_page(results, ".")).text)
    results["created"] = "2031-02-03"
    assert "2031-02-03" in Page(render_page(results, ".")).text


def test_page_stays_small_with_many_cases_and_noisy_images(tmp_path):
    random = np.random.default_rng(0)
    results = record(cases=40)
    shape = (384, 384, 1)
    files = {
        "image": save(tmp_path / "i.nii.gz", random.integers(0, 4000, shape).astype(np.int16)),
        "label": save(tmp_path / "l.nii.gz", np.zeros(shape, np.uint8)),
    }
    results["images"] = {f"S3/Case{i:02d}": files for i in range(40)}
    assert len(SHAPE) == 3
    text = render_page(results, ".")
    assert Page(text).tags.count("img") == 1 + 6
    assert len(text) < 5_000_000


def test_letters_of_a_link_in_a_picture_are_written_otherwise():
    import base64

    picture = base64.b64decode("AAAAhttpAAAAHtTpAAAA")
    uri = data_uri(picture)
    assert "http" not in uri.lower()
    from urllib.parse import unquote

    assert base64.b64decode(unquote(uri.split(",")[1])) == picture


def test_a_faulty_record_writes_nothing(tmp_path):
    results = record()
    del results["protocol"]
    with pytest.raises(InputError, match="'protocol'"):
        write_report(results, tmp_path / "report")
    assert not (tmp_path / "report").exists()
    with pytest.raises(InputError, match="there are no results"):
        rebuild_report(tmp_path / "report")
