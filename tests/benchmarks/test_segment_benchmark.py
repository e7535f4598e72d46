# SPDX-License-Identifier: Apache-2.0
"""Rows and goals of the benchmark of segment, from numbers that are known; no test measures time."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from akd_monai.deploy._stages import Stages
from benchmarks import installed, segment
from benchmarks.common import Settings
from benchmarks.installed import Environment
from benchmarks.segment import Run


def stages(network):
    return Stages("openvino 1", "fp32", 0.5, 0.1, 0.1, network, 0.1, 0.1, 120.0, 300.0)


def test_goals_are_those_of_the_numbers(monkeypatch):
    sizes = {("segment",): Environment(14, 240.0), ("segment", "openvino"): Environment(16, 425.0)}
    monkeypatch.setattr(segment, "environment_of", lambda *extras: sizes[extras])
    measured = SimpleNamespace(
        engines=["openvino"],
        starts={"openvino": [Run(0.5, 120), Run(0.4, 120), Run(0.6, 120)]},
        totals={"openvino": [Run(1.5, 300), Run(1.7, 300), Run(1.3, 300)]},
        stages={"openvino": [stages(0.48), stages(0.6), stages(0.36)]},
        large={"openvino": [2.2, 2.0, 2.1]},
        folders={"openvino": Run(20.5, 315)},
    )
    result = segment.table(Settings(), measured, (320, 24, 20))
    found = {goal.what.removeprefix("segment").lstrip(":, "): goal.value for goal in result.goals}
    assert found["ENet: NIfTI to mask, start included, best engine, s"] == 1.5
    assert found["ENet: network, best engine, s"] == 0.48
    # 2.1 s a slice over 0.48 s for 24 of them
    assert found["UNet++ network over ENet's, same engine"] == pytest.approx(105)
    assert found["start, slowest engine, s"] == 0.5
    assert found["peak memory of the folder over that of one volume"] == pytest.approx(1.05)
    # one second a volume in both
    assert found["speed in the folder over that of one volume"] == pytest.approx(1.0)
    assert [goal.reached for goal in result.goals] == [True] * len(result.goals)
    rows = {row[0]: row[1] for row in result.rows}
    assert rows["NIfTI to mask, start included, s"] == "1.5 (1.3 to 1.7)"


class Installed:
    """Stand-in for a distribution.

    Args:
        requires: its requirements.
        sizes: of its files.
        folder: where they lie.
    """

    def __init__(self, requires, sizes, folder):
        self.requires = requires
        self.files = []
        self.folder = folder
        for number, size in enumerate(sizes):
            self.files.append(f"{id(self)}-{number}")
            (folder / self.files[-1]).write_bytes(b"x" * size)
        # a record may name what is gone
        self.files.append("gone")

    def locate_file(self, name):
        return self.folder / name


def test_the_environment_is_what_the_extra_needs_and_no_more(tmp_path, monkeypatch):
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    # numbers\n    numpy>=1\n[options.extras_require]\nsegment =\n    engine>=1\n"
        "train =\n    torch\n"
    )
    packages = {
        "numpy": Installed(["tests; extra == 'dev'"], [1_000_000], tmp_path),
        "engine": Installed(["numpy", "Protocol_Buffers", "win; sys_platform == 'none'"], [500_000, 250_000], tmp_path),
        "Protocol_Buffers": Installed(None, [250_000], tmp_path),
    }
    monkeypatch.setattr(installed, "SETUP", tmp_path / "setup.cfg")
    monkeypatch.setattr(installed, "distribution", lambda name: packages[name])
    assert installed.environment_of("segment") == Environment(3, 2.0)

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installed, "distribution", missing)
    with pytest.raises(RuntimeError, match=r"\w+ is not installed, so the size of the environment is not known"):
        installed.environment_of("segment")
