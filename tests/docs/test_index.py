# SPDX-License-Identifier: Apache-2.0
"""The first page leads to every page once, with its pictures; verbs, packages, results and messages are all listed."""

from __future__ import annotations

import re

import pytest
from docs_tools import DOCS

from akd_monai.__main__ import VERBS

ROOT = DOCS.parent


def test_every_page_is_listed_once():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(?:how-to|tutorial|explanation|reference)/[\w/-]+$", index, re.MULTILINE)
    assert len(set(listed)) == len(listed)
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.glob("*/*.md")}
    of_results = {page for page in pages if page.startswith("results/")}
    assert pages - of_results == set(listed) - {"reference/python/index"}


def test_every_package_is_in_the_reference():
    index = (DOCS / "reference" / "python" / "index.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in (ROOT / "akd_monai").glob("[a-z]*/__init__.py")}
    listed = set(re.findall(r"^[\w-]+$", index, re.MULTILINE))
    assert packages <= listed
    for name in packages:
        page = (DOCS / "reference" / "python" / f"{name}.md").read_text(encoding="utf-8")
        assert f"automodule:: akd_monai.{name}" in page


def test_every_verb_is_on_the_page_of_the_command_line():
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", page.partition("## ")[0], re.MULTILINE)
    assert sorted(verb for verb, _ in rows) == sorted(VERBS)
    assert all("{py:func}" in functions for _, functions in rows)


def test_every_result_is_on_the_page_of_results():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    for result in (DOCS / "results").glob("*.md"):
        assert f"](results/{result.name})" in page, result.name


@pytest.mark.parametrize("page", ["index.md", "explanation/phantom.md"])
def test_pictures_are_there(page):
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / page).parent.joinpath(picture).is_file()


def test_messages_of_troubleshooting_are_those_of_the_code():
    files = sorted((ROOT / "akd_monai").rglob("*.py"))
    source = "\n".join(path.read_text(encoding="utf-8") for path in files)
    # literals that continue on the next line are one
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    page = (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = [
        cell for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for cell in re.findall(r"`([^`]+)`", row)
    ]
    assert len(messages) > 20
    lost = []
    for message in messages:
        pieces = [piece.strip(" ,;") for piece in message.split("...")]
        lost += [piece for piece in pieces if len(piece) > 3 and piece not in source]
    assert lost == []
