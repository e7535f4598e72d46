# SPDX-License-Identifier: Apache-2.0
"""The pages in a real browser: nothing is asked for, nothing is complained about, every picture is shown."""

from __future__ import annotations

import pytest
from browser import Browser, find_browser
from made_up import record
from made_up_pages import make_pages_study
from test_pages_report import quick

from akd_monai.experiments import write_report
from akd_monai.experiments._pages import write_study_report

CHROMIUM = find_browser()
# one target: boxes, cost, three cases, two of curves, reliability
SMALL = {"targets": ["HK"], "seeds": [0], "methods": {"distilled": {}}}
WHITE, NARROW = "rgb(255, 255, 255)", 400


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_pages_in_a_browser_light_and_dark(tmp_path):
    with quick():
        index = write_study_report(make_pages_study(tmp_path / "experiment", **SMALL))
    demo = write_report(record(tmp_path / "files"), tmp_path / "demo")
    pages = {index: 8, index.with_name("paper.html"): 0, demo: 3}
    with Browser(CHROMIUM, tmp_path / "profile") as browser:
        for path, pictures in pages.items():
            seen = {}
            for scheme in ("light", "dark"):
                found = browser.open(path, scheme)
                assert found["complaints"] == []
                outside = [url for url in found["asked"] if not url.startswith(("data:image/png", path.as_uri()))]
                assert outside == []
                assert found["images"] == [True] * pictures
                assert found["wide"] == 0
                assert browser.open(path, scheme, width=NARROW)["wide"] == 0
                seen[scheme] = (found["background"], found["ink"])
            assert seen["light"][0] == WHITE
            assert seen["dark"][0] != WHITE
            assert seen["dark"][1] != seen["light"][1]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_the_browser_would_see_a_fault(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('x')</script><img src='missing.png'><div style='width:5000px'>.</div>")
    with Browser(CHROMIUM, tmp_path / "profile") as browser:
        found = browser.open(page, "light")
    assert found["complaints"]
    assert found["images"] == [False]
    assert found["wide"] > 0
    assert any(url.endswith("missing.png") for url in found["asked"])
