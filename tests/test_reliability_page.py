# SPDX-License-Identifier: Apache-2.0
"""The page on reliability is what its command writes from the tests."""

from __future__ import annotations

import pytest
from reliability_page import PAGE, TOPICS, page, rows

SOURCE = """
import pytest

@pytest.mark.fault("{topic}", "a bit flips", injected="one | of 8", outcome="found")
@pytest.mark.parametrize("bit", range(8))
def test_flip(bit):
    pass

def test_without():
    pass
"""


def test_the_committed_page_is_what_the_tests_say():
    assert PAGE.read_text(encoding="utf-8") == page(rows()), "run python tests/reliability_page.py"


def test_every_test_says_fault_injection_and_outcome():
    found = rows()
    assert len(found) >= 80
    for row in found:
        assert all(row), row
        assert not any("|" in cell or "\n" in cell for cell in row), row
    assert {row.topic for row in found} <= set(TOPICS)


def test_marked_tests_become_rows(tmp_path):
    (tmp_path / "test_a.py").write_text(SOURCE.format(topic="Numbers"))
    (row,) = rows(tmp_path)
    assert row == ("Numbers", "a bit flips", "one | of 8", "found", "tests/test_a.py::test_flip")
    assert "## Numbers\n\n| fault | injected | outcome | test |" in page([row])
    (tmp_path / "test_a.py").write_text(SOURCE.format(topic="Nombres"))
    with pytest.raises(ValueError, match=r"test_a.py::test_flip: unknown topic 'Nombres'"):
        rows(tmp_path)
