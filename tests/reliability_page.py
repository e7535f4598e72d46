# SPDX-License-Identifier: Apache-2.0
"""Write ``docs/explanation/reliability.md`` from the tests that inject a fault.

    python tests/reliability_page.py            write the page
    python tests/reliability_page.py --check    end with 1 if it is not what would be written

A test that injects a fault has ``@pytest.mark.fault(topic, fault, injected=..., outcome=...)``. The tests are read, not
imported, so this takes a second.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "explanation" / "reliability.md"
TOPICS = (
    "Stopped runs",
    "Damaged checkpoints and weights",
    "The same run, or none",
    "Experiments",
    "Numbers",
    "Disk, memory and processes",
    "Volumes",
    "Masks that are written",
    "Preparing and verifying data",
    "Bundles that are not trusted",
    "Teacher cache",
    "Tracking",
    "Privacy",
    "Wrong input",
    "MONAI Label",
)
HEAD = """# Reliability

What goes wrong in daily use, how each fault is injected, what happens, and which test shows it.
All data in these tests are synthetic. `python tests/reliability_page.py` writes this page from the tests.

{count} kinds of faults. What no test can promise stands in the [threat model](threat-model.md): an uncompressed image in
which a bit has flipped is another valid image.
"""


class Row(NamedTuple):
    """One line of the table."""

    topic: str
    fault: str
    injected: str
    outcome: str
    test: str


def rows(folder: Path = TESTS) -> list[Row]:
    """Return what the tests below ``folder`` say about their faults, in the order of files and lines."""
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                name = f"tests/{path.relative_to(folder).as_posix()}::{function.name}"
                found += [row_of(mark, name) for mark in marks(function)]
    return found


def marks(function: ast.FunctionDef) -> Iterator[ast.Call]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
            yield decorator


def row_of(mark: ast.Call, name: str) -> Row:
    words = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
    topic, fault = map(ast.literal_eval, mark.args)
    if topic not in TOPICS:
        raise ValueError(f"{name}: unknown topic {topic!r}; one of {', '.join(TOPICS)}")
    return Row(topic, fault, words["injected"], words["outcome"], name)


def page(found: list[Row]) -> str:
    """Return the page as Markdown."""
    lines = [HEAD.format(count=len(found))]
    for topic in TOPICS:
        own = [row for row in found if row.topic == topic]
        if own:
            lines += [f"## {topic}\n", "| fault | injected | outcome | test |", "|---|---|---|---|"]
            lines += [f"| {row.fault} | {row.injected} | {row.outcome} | `{row.test}` |" for row in own]
            lines.append("")
    return "\n".join(lines)


def main() -> int:
    text = page(rows())
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
