# SPDX-License-Identifier: Apache-2.0
"""The report of a compression, how networks are timed, and that a cell that is done is not run again."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from akd_monai.deploy._stages import Stages
from akd_monai.errors import InputError
from akd_monai.experiments import compress
from akd_monai.experiments._compress import timing
from akd_monai.experiments._compress.found import Found, FoundRow
from akd_monai.experiments._compress.page import write_page
from akd_monai.experiments._compress.request import Request
from akd_monai.experiments._compress.score import dice_of
from akd_monai.experiments._compress.teaching import Teaching
from akd_monai.experiments._plan.cell import Cell, Row

MEASURED = {"engine": "openvino 1", "shape": [64, 64, 8], "synthetic": False, "machine": {"cpu": "a processor"}}


def row(network, how, dice, *, seconds, megabytes, validation=0.5):
    cases = {f"HK/Case{number:02}": dice + 0.01 * number for number in (-1, 0, 1)}
    file = Path("/results/cells/export") / network / how / "model.onnx"
    return FoundRow(network, how, "Dice", dice, cases, validation, 1234567, megabytes, seconds, 200.0, file)


@pytest.fixture
def written(tmp_path):
    """A report in which the distilled student loses to its control, and a larger one costs more than it brings."""
    (tmp_path / "data").mkdir()
    teacher = row("teacher", "teacher", 0.9, seconds=2.0, megabytes=40.0, validation=None)
    small = [row("enet", how, dice, seconds=0.5, megabytes=2.0) for how, dice in (("alone", 0.7), ("distilled", 0.6))]
    large = [row("erfnet", how, 0.65, seconds=1.0, megabytes=8.0) for how in ("alone", "distilled")]
    teaching = Teaching(
        True, [64, 64], {"sites": ["HK"], "folds": 4, "fold": 1, "split_seed": 0}, (), (), ("Look <here>.",)
    )
    request = Request(tmp_path / "big", tmp_path / "w.pt", tmp_path / "data")
    found = Found((teacher, *small, *large), MEASURED)
    return write_page(found, request, teaching, tmp_path / "out", "python -m akd_monai compress big")


def test_the_table_has_a_row_for_each_and_marks_the_front(written):
    rows = list(csv.DictReader((written.parent / "tables" / "compress.csv").open()))
    named = {(one["network"], one["how"]): one for one in rows}
    # by hand: no student is as good as the teacher; of the students none is better than enet alone for any cost
    assert [key for key, one in named.items() if one["front"] == "True"] == [("teacher", "teacher"), ("enet", "alone")]
    distilled = named["enet", "distilled"]
    assert float(distilled["minus_teacher"]) == pytest.approx(-0.3)
    assert float(distilled["minus_control"]) == pytest.approx(-0.1)
    assert distilled["control"] == "enet, alone"
    assert float(distilled["mean"]) == pytest.approx(0.6)
    assert named["enet", "alone"]["control"] == ""
    record = json.loads((written.parent / "tables" / "compress.json").read_text())
    assert record["measured"] == MEASURED
    assert len(record["rows"]) == 5


def test_the_page_opens_offline_and_says_what_must_be_known(written):
    page = written.read_text()
    assert re.findall(r"https?:", page) == []
    assert "<script" not in page
    assert "What is lost and gained" in page
    assert "loses 0.200 Dice against it" in page
    assert "enet: too few cases to tell" in page
    # escaped, as everything that comes from outside
    assert "Look &lt;here&gt;." in page
    assert "nothing is known of what other seeds would give" in page
    assert "1,234,567" in page
    assert "2 of 4" in page
    assert page.count("data:image/png") == 1
    for file in re.findall(r'href="([^"]+)"', page):
        assert (written.parent / file).is_file()


def test_the_markdown_holds_the_sentence_and_the_table(written):
    lines = (written.parent / "tables" / "compress.md").read_text().splitlines()
    assert lines[0].startswith(
        "enet, alone, takes 0.500 CPU seconds a volume where the teacher takes 2.000 (4.0 times less)"
    )
    assert sum(line.startswith("| ") for line in lines) == 1 + 5


def test_networks_are_timed_in_turn_and_medians_are_kept(monkeypatch, tmp_path):
    asked = []
    figures = {
        "big": iter([(9.0, 30.0), (2.0, 10.0), (4.0, 20.0)]),
        "small": iter([(1.0, 3.0), (0.2, 1.0), (0.4, 2.0)]),
    }

    def stages(model, volume, mask, *, threads, repeats):
        asked.append((Path(model).stem, threads))
        seconds, memory = next(figures[Path(model).stem])
        return Stages("engine 1", "f32", 7.0, 0.0, 0.0, seconds, 0.0, 0.0, 1.0, memory)

    monkeypatch.setattr(timing, "stages_in_fresh_process", stages)
    models = {"teacher": Path("big.onnx"), "enet": Path("small.onnx")}
    timed = timing.time_models(models, tmp_path / "t2.nii.gz", rounds=3)
    assert asked == [("big", 1), ("small", 1)] * 3
    # what starts the process does not count
    assert timed.seconds == {"teacher": 4.0, "enet": 0.4}
    assert timed.peak_mb == {"teacher": 20.0, "enet": 2.0}
    assert timed.engine == "engine 1"


def test_a_cell_that_is_done_is_not_run_again(monkeypatch, tmp_path):
    cells = []
    for number in range(3):
        folder = tmp_path / f"c{number}"
        folder.mkdir()
        where = Row("HK", 0, "student", "enet", "alone")
        cells.append(
            Cell(f"c{number}", "train", where, ("-c", "pass"), str(tmp_path), str(folder), str(folder / "r.json"))
        )
    Path(cells[1].result).write_text(json.dumps({"cell": "c1"}))
    asked = []

    def run(waiting, before, *_):
        asked.append(([cell.name for cell in waiting], [cell.name for cell in before]))
        return {}

    monkeypatch.setattr(compress, "run_waiting", run)
    compress._run(cells, tmp_path, [], 1)
    assert asked == [(["c0", "c2"], ["c1"])]
    monkeypatch.setattr(compress, "run_waiting", lambda *_: {"c0": RuntimeError("a cell has failed")})
    with pytest.raises(SystemExit) as stop:
        compress._run(cells, tmp_path, [], 1)
    assert stop.value.code == 1


def test_the_metric_that_stands_for_dice():
    assert dice_of({"val_loss": 0.4, "val_mean_dice": 0.9}) == ("val_mean_dice", 0.9)
    assert dice_of({"score": 0.5}) == ("score", 0.5)
    # of these less is better, and the worst student would be recommended
    assert dice_of({"val_dice_loss": 0.1, "val_hausdorff": 9.0, "iou": 0.7}) == ("iou", 0.7)
    with pytest.raises(
        InputError, match="no metric of which more is better, only val_loss; add a Dice to the handlers"
    ):
        dice_of({"val_loss": 0.4})
    with pytest.raises(InputError, match="only none that is a number"):
        dice_of({})
