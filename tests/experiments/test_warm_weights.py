# SPDX-License-Identifier: Apache-2.0
"""The same weights and scores, to the bit, by the printed line and by a fork of the warm process with all its imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from akd_monai.experiments import experiment_cells
from akd_monai.experiments._cell_process import run_cell
from akd_monai.experiments._devices import Devices
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._warm import warm_process
from akd_monai.files import sha256_of, write_json
from akd_monai.prostate import make_phantom

TINY = {
    "sites": ["RUNMC", "HK"],
    "targets": ["HK"],
    "run_folds": [0],
    "teachers": ["unetplusplus"],
    "students": ["enet"],
    "settings": {"epochs": 1, "spatial_size": [32, 32]},
}
CHOSEN = "*/student-enet/without/*"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks cells")
def test_a_fork_gives_the_weights_and_scores_of_the_printed_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    data = make_phantom(tmp_path / "data", cases_per_site=3, sites=["RUNMC", "HK"], size=32, slices=4)
    file = write_json(tmp_path / "tiny.json", {**TINY, "dataset_dir": str(data)})
    for line in experiment_cells(file, tmp_path / "by_line", only=[CHOSEN]):
        subprocess.run(line, shell=True, check=True, capture_output=True, timeout=300)
    experiment_cells(file, tmp_path / "by_fork")
    cells = [cell for cell in expand(read_matrix(file), tmp_path / "by_fork") if "/without/" in cell.name]
    with warm_process(tmp_path / "by_fork", dict(cells[0].environment)) as warm:
        assert warm is not None
        assert warm.refusal() == ""
        for cell in cells:
            run_cell(cell, Devices(tmp_path / "by_fork", warm=warm))
    assert digests(tmp_path / "by_fork") == digests(tmp_path / "by_line")


def digests(folder):
    paths = sorted([*folder.rglob("model.pt"), *folder.rglob("per_case.csv")])
    assert len(paths) == 2
    return {str(path.relative_to(folder)): sha256_of(path) for path in paths}
