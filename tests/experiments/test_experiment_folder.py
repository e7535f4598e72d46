# SPDX-License-Identifier: Apache-2.0
"""What lies in the folder of an experiment: results of its own cells, bundles as they were, no state that is of no use."""

from __future__ import annotations

import json
import shutil

import fake_cells
import pytest
from made_up_study import make_study

from akd_monai.bundle._parts import bundle_files, read_part
from akd_monai.errors import InputError
from akd_monai.experiments._cell_process import Devices, run_cell
from akd_monai.experiments._plan.bundles import put_bundle
from akd_monai.experiments._plan.cell import is_done
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._plan.parts import Part
from akd_monai.experiments._plan.written import write_experiment
from akd_monai.experiments._study.study import read_study
from akd_monai.files import write_json

TEST = "test/HK/fold-0/student-enet/without/seed-0"


def own_bundle(folder):
    for name, content in bundle_files(read_part("enet")).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.fixture
def placed(tmp_path):
    """Return a bundle of one's own and its copy in an experiment, in which a cell has been started."""
    source = own_bundle(tmp_path / "mine")
    root = tmp_path / "out" / "bundles" / "student-mine"
    put_bundle(str(source), {"epochs": 3}, root)
    write_json(tmp_path / "out" / "cells" / "train" / "HK" / "fold-0" / "student-mine" / "cell.json", {})
    return source, root


@pytest.mark.fault(
    "Experiments",
    "a bundle that changes while an experiment is under way",
    injected="a config of the bundle, of the experiment's copy, or a setting is edited between two calls",
    outcome="refused before anything is written, so that no table mixes the two",
)
@pytest.mark.parametrize("change", ["source", "copy", "setting"])
def test_a_bundle_in_which_cells_were_run_must_not_change(placed, change):
    source, root = placed
    settings = {"epochs": 4 if change == "setting" else 3}
    if change != "setting":
        path = {"source": source, "copy": root}[change] / "configs" / "train.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "learning_rate": 0.5}))
    what = r"configs/train\.json of this copy" if change == "copy" else "the settings or files of this bundle"
    with pytest.raises(InputError, match=rf"student-mine: {what} changed after cells were run in it; undo that"):
        put_bundle(str(source), settings, root)


def test_before_the_first_cell_a_bundle_may_change(placed):
    source, root = placed
    shutil.rmtree(root.parents[1] / "cells")
    put_bundle(str(source), {"epochs": 4}, root)
    assert json.loads((root / "configs" / "train.json").read_text())["epochs"] == 4


def test_a_bundle_that_was_moved_is_the_same(placed, tmp_path):
    source, root = placed
    before = (root / "configs" / "train.json").stat().st_mtime_ns
    put_bundle(str(source.rename(tmp_path / "moved")), {"epochs": 3}, root)
    assert (root / "configs" / "train.json").stat().st_mtime_ns == before


def test_results_are_read_without_the_bundle_that_was_copied(tmp_path):
    own_bundle(tmp_path / "mine")
    file = write_json(
        tmp_path / "own.json",
        {"dataset_dir": "data", "teachers": ["unetplusplus"], "students": {"mine": {"bundle": "mine"}}},
    )
    out = tmp_path / "own"
    matrix = read_matrix(file)
    put_bundle(matrix.students[0].bundle, {}, out / "bundles" / "student-mine")
    write_experiment(Part(matrix, out, file))
    shutil.rmtree(tmp_path / "mine")
    again = read_matrix(out / "experiment.json")
    copy = out / "bundles" / "student-mine"
    assert again.students[0].bundle == str(copy)
    assert again.dataset_dir == tmp_path / "data"
    # a call with that file writes nothing over itself
    put_bundle(again.students[0].bundle, {}, copy)
    assert (copy / "configs" / "train.json").is_file()


def test_a_result_of_another_cell_is_none(tmp_path):
    cell = fake_cells.make(tmp_path, "t1", 0.0)
    for content in ({"cell": "t2"}, {}):
        write_json(tmp_path / "t1" / "result.json", content)
        with pytest.raises(InputError, match=r"is the result of .*, and not of 't1'; delete '.*t1'"):
            is_done(cell)


def test_a_cell_that_is_done_keeps_no_state_to_resume_from(tmp_path):
    place = tmp_path / "plain"
    script = "import pathlib; p = pathlib.Path('plain/eval'); p.mkdir(parents=True)"
    for name in ("resume.pt", "resume-previous.pt", "training.json"):
        script += f"; (p / '{name}').write_bytes(bytes(1000))"
    cell = fake_cells.Cell(
        "plain", "train", fake_cells.ROW, ("-c", script), str(tmp_path), str(place), str(place / "result.json")
    )
    run_cell(cell, Devices(tmp_path))
    assert [path.name for path in (place / "eval").iterdir()] == ["training.json"]
    # what is left: 1000 bytes, the cell's record, its lock and an empty log
    assert 1000 < json.loads((place / "result.json").read_text())["disk_bytes"] < 2000


DAMAGED = {
    "cut in its last figure": (lambda text: text[:-3], "ends within a line"),
    "deleted": (None, f"cell {TEST} has no per_case.csv; delete the cell's folder"),
    "empty": (
        lambda _: "",
        f"cell {TEST}: .* is not a table of cases: No columns to parse from file; delete the cell's",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_table_of_cases_is_refused_with_its_cell(tmp_path, damage, message):
    out = make_study(tmp_path, targets=["HK"], seeds=[0])
    table = out / "cells" / TEST / "eval" / "per_case.csv"
    text = table.read_text()
    table.unlink()
    if damage is not None:
        table.write_text(damage(text))
    with pytest.raises(InputError, match=message):
        read_study(out)
