# SPDX-License-Identifier: Apache-2.0
"""The wheel alone is enough to start: it holds every file of the package, and its verbs need no clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ROOT / "bundles"
WITHOUT_CLONE = """
import sys
from pathlib import Path
import akd_monai
from akd_monai.__main__ import main
assert Path(akd_monai.__file__).is_relative_to(sys.argv[1]), akd_monai.__file__
main(["bundles", "--output_dir", "."])
main(["recipes"])
main(["distill", "--help"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel, built from a copy, so that nothing is written into the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "akd_monai", source / "akd_monai", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", folder, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


def test_it_holds_every_file_of_the_package_and_nothing_else(wheel):
    source = wheel.parent / "source" / "akd_monai"
    wanted = {str(path.relative_to(source.parent)) for path in source.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert sorted(wanted - held) == []
    assert sorted(held - wanted) == []


@pytest.mark.slow
def test_its_verbs_run_where_there_is_no_clone(wheel, tmp_path):
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CLONE, str(unpacked)],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in BUNDLES.iterdir())
    assert sorted(path.name for path in here.iterdir()) == names
    for name in names:
        for path in (here / name).rglob("*"):
            if path.is_file():
                assert path.read_bytes() == (BUNDLES / name / path.relative_to(here / name)).read_bytes()
    assert "paper " in done.stdout
    assert "--teacher" in done.stdout
