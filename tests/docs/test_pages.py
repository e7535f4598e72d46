# SPDX-License-Identifier: Apache-2.0
"""Pages that run as they stand, block by block, in one shell; see ``page_runner`` for what a page may hold.

A page is a line of the table: where its reader stands, and what is shrunk. ``AKD_COLD=1`` takes the real interpreter for
every command, which costs its imports.
"""

from __future__ import annotations

import json
import os
import socket

import pytest
from docs_tools import DOCS
from integration.label_server import installed_python
from page_runner import run_page

PATH = "how-to/from-scans-to-a-light-tool.md"

# page: (fixture of the folder in which the reader stands, None for an empty one; variables of the page that are smaller)
PAGES: dict[str, tuple[str | None, dict[str, str]]] = {
    "../README.md": ("clone", {"EPOCHS": "1"}),
    "how-to/export.md": ("trained", {}),
    "how-to/segment.md": ("scanned", {}),
    "how-to/track-with-mlflow.md": ("trained", {}),
}


def run(page, reader, variables, warm):
    cold = os.environ.get("AKD_COLD")
    return run_page(DOCS / page, reader, variables=variables, path=None if cold else warm.bin)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "reader", "variables"), [(name, *how) for name, how in PAGES.items()], indirect=["reader"], ids=list(PAGES)
)
def test_page_runs_as_it_stands(page, reader, variables, warm):
    run(page, reader, variables, warm)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("reader", [None], indirect=True)
def test_the_path_runs_as_it_stands(reader, warm, monkeypatch):
    """And the splits that it writes are those that its trainings and evaluations took."""
    monkeypatch.setenv("AKD_LABEL_PYTHON", str(installed_python()))
    run(PATH, reader, {"EPOCHS": "1", "PORT": free_port()}, warm)
    parts = json.loads((reader / "splits.json").read_text())["splits"][0]["cases"]
    for bundle in ("prostate_mri_enet", "enet_distilled"):
        training = json.loads((reader / "bundles" / bundle / "eval" / "training.json").read_text())
        evaluation = json.loads((reader / "bundles" / bundle / "eval" / "evaluation.json").read_text())
        taken = {
            "training": training["case_ids"],
            "validation": training["validation_case_ids"],
            "test": evaluation["case_ids"],
        }
        assert taken == {part: [case for case, of in parts.items() if of == part] for part in taken}
    assert (reader / "masks" / "t2_preview.png").is_file()
    assert (reader / "served.nii.gz").stat().st_size > 0
