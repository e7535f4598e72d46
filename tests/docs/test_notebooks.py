# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from their first cell to their last, without Jupyter, and hold no outputs."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path, kind):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def test_every_notebook_is_run():
    assert [path.name for path in NOTEBOOKS] == ["distil_in_a_loop.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_sections_of_monais_tutorials_and_no_outputs(path):
    titles = [line for cell in cells(path, "markdown") for line in cell["source"] if line.startswith("#")]
    assert titles[0].startswith("# ")
    assert {"## Setup environment\n", "## Setup imports\n"} <= {f"{title.rstrip()}\n" for title in titles}
    for cell in cells(path, "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


def run(path, folder, monkeypatch):
    """Run the code cells of a notebook in one scope and return it."""
    monkeypatch.chdir(folder)
    mpl.use("Agg")
    scope: dict = {"__name__": "__main__"}
    for number, cell in enumerate(cells(path, "code"), 1):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), scope)
    return scope


@pytest.mark.slow
def test_the_loop_trains_teacher_and_students(tmp_path, monkeypatch, capsys):
    scope = run(FOLDER / "distil_in_a_loop.ipynb", tmp_path, monkeypatch)
    assert {name for step in scope["curve_distilled"] for name in step} == {"task", "logits", "gram", "affinity"}
    for curve in (scope["curve_alone"], scope["curve_distilled"]):
        assert sum(step["task"] for step in curve[-5:]) < sum(step["task"] for step in curve[:5])
    # the same first weights and the same first batch
    assert scope["curve_alone"][0]["task"] == pytest.approx(scope["curve_distilled"][0]["task"], rel=1e-5)
    assert not any(parameter.requires_grad for parameter in scope["teacher"].parameters())
    assert "student distilled" in capsys.readouterr().out
