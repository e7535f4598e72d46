# SPDX-License-Identifier: Apache-2.0
"""Programs and commands of a page of the documentation, as a reader would copy them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """Return the arguments of each ``python -m akd_monai`` on a page."""
    found = []
    for block in blocks(page, "bash"):
        lines = block.replace("\\\n", " ").splitlines()
        found += [shlex.split(line)[3:] for line in lines if line.startswith("python -m akd_monai ")]
    return found
