# SPDX-License-Identifier: Apache-2.0
"""What is tried with each bundle, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._configs import config_path
from benchmarks.model_zoo.bundles import BUNDLES
from benchmarks.model_zoo.data import write_architecture, write_data
from benchmarks.model_zoo.guard import doubts_of_log, doubts_of_weights, hashes
from benchmarks.model_zoo.shrinking import shrinking

__all__ = ["CELLS", "Workplace", "run_cell"]

CELLS = ("check", "profile", "like", "teacher", "student")
WORKS = "works"
_NO_LIGHT = "there is no light student to teach, as the column before says"

_LIGHT = "light_student"
_ITSELF = "student"
_DISTILLED = {"teacher": _LIGHT, "student": _ITSELF}
# what is distilled: the networks are drawn, and no layers are known of foreign ones
_TERMS = ("--terms", "logits,affinity", "--allow", "tensorboard")
_COUNTED = ("task", "logits", "affinity", "total")
_TRUST = {
    "profile": "--trust_bundle",
    "like": "--trust_bundle",
    "teacher": "--trust_teacher",
    "student": "--trust_teacher",
}


@dataclass(frozen=True)
class Workplace:
    """Where one bundle is tried.

    Args:
        name: of the bundle.
        zoo: a checkout of the Model Zoo's ``models`` folder, which is only read.
        root: scratch folder of the bundle.
        timeout: seconds for each cell.
    """

    name: str
    zoo: Path
    root: Path
    timeout: float

    @property
    def bundle(self) -> Path:
        """The bundle's unmodified copy."""
        return self.root / self.name

    @property
    def light(self) -> Path:
        """The light student that ``new_bundle --like`` writes."""
        return self.root / _LIGHT

    def prepare(self) -> dict[str, Any]:
        """Copy the bundle, draw its weights and write its data, once; return the ids that the data need."""
        path = self.root / "ids.json"
        if path.is_file():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.zoo / self.name, self.bundle)
        (self.bundle / "models").mkdir(exist_ok=True)
        spec = BUNDLES[self.name]
        if spec.options.get("architecture"):
            write_architecture(self.bundle / "models" / "search_code_18590.pt")
        ids = write_data(spec, self.root / "data")
        _in_process([sys.executable, "-m", "benchmarks.model_zoo.weights", str(self.bundle)], self.timeout, Path.cwd())
        path.write_text(json.dumps(ids))
        return ids


def run_cell(place: Workplace, cell: str) -> dict[str, Any]:
    """Try one thing with one bundle and return what came of it.

    Returns:
        ``outcome``: "works" or one line; ``traceback``: whether the command ended with one; ``trusted``: whether the bundle
        had to be trusted; ``command``; ``seconds``.
    """
    ids = place.prepare()
    if cell == "teacher" and not place.light.is_dir():
        missing = {"outcome": _NO_LIGHT, "traceback": False, "trusted": False}
        return {**missing, "command": "", "seconds": 0.0}
    start = time.monotonic()
    command = _command(place, cell, ids)
    trusted = False
    found = _tried(command, place, cell)
    flag = _TRUST.get(cell)
    if flag is not None and flag in found["outcome"]:
        trusted = True
        command = [*command, flag]
        found = _tried(command, place, cell)
    seconds = round(time.monotonic() - start, 1)
    return {**found, "trusted": trusted, "command": " ".join(command), "seconds": seconds}


def _command(place: Workplace, cell: str, ids: Mapping[str, Any]) -> list[str]:
    bundle = str(place.bundle)
    if cell == "check":
        return ["check", bundle]
    if cell == "profile":
        return ["profile", bundle, "--size", str(BUNDLES[place.name].side), "--repeats", "1", "--threads", "1"]
    if cell == "like":
        shutil.rmtree(place.light, ignore_errors=True)
        network = ["--network", "UNet", "--bundles_dir", str(place.root)]
        return ["new_bundle", "--name", _LIGHT, *network, "--like", bundle]
    student = place.root / _DISTILLED[cell]
    if cell == "student":
        shutil.rmtree(student, ignore_errors=True)
        shutil.copytree(place.bundle, student)
    # another try starts at the first epoch
    shutil.rmtree(student / "distillation", ignore_errors=True)
    scripted = ["--teacher_weights", str(place.bundle / "models" / "model.ts")]
    weights = scripted if BUNDLES[place.name].scripted else []
    overrides = _overrides(place, student, ids, with_network=cell == "student")
    flags = BUNDLES[place.name].flags if cell == "student" else ()
    return ["distill", "--teacher", bundle, *weights, "--student", str(student), *_TERMS, *flags, *overrides]


def _overrides(place: Workplace, student: Path, ids: Mapping[str, Any], *, with_network: bool) -> list[str]:
    path = config_path(student, "train") if student.is_dir() else None
    if path is None:
        return []
    spec = BUNDLES[place.name]
    values = {**shrinking(ConfigParser.load_config_file(path), spec.side), **spec.overrides, **spec.set_by_user, **ids}
    values.update(spec.network if with_network else {})
    flags = []
    for name, value in values.items():
        flags += [f"--{name}", value if isinstance(value, str) else repr(value)]
    return flags


def _tried(command: list[str], place: Workplace, cell: str) -> dict[str, Any]:
    student = place.root / _DISTILLED.get(cell, "none")
    before = hashes(student)
    done = _in_process([sys.executable, "-m", "akd_monai", *command], place.timeout, place.root)
    if done is None:
        return {"outcome": f"no result within {place.timeout:.0f} s", "traceback": False}
    log = done.stdout + done.stderr
    (place.root / f"{cell}.log").write_text(log)
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    traceback = any(line.startswith("Traceback (most recent call last)") for line in lines)
    if done.returncode == 0:
        said = done.stdout.strip().splitlines()
        wrote_none = next((line for line in said if line.startswith("No weights were written")), None)
        if wrote_none is not None or cell not in _DISTILLED:
            return {"outcome": wrote_none or WORKS, "traceback": False}
        spec = BUNDLES[place.name]
        doubts = doubts_of_log(log, spec.activation, _COUNTED)
        doubts += doubts_of_weights(log, before, student, spec if cell == "student" else None)
        return {"outcome": f"silently wrong: {'; '.join(doubts)}" if doubts else WORKS, "traceback": False}
    return {"outcome": _neutral(lines[-1] if lines else f"exit code {done.returncode}", place), "traceback": traceback}


def _neutral(line: str, place: Workplace) -> str:
    """Return a message without the folders of this machine."""
    return line.removeprefix("akd_monai: ").replace(f"{place.root}/", "")


def _in_process(command: list[str], timeout: float, folder: Path) -> subprocess.CompletedProcess[str] | None:
    paths = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    one_thread = {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=folder,
            env={**os.environ, **one_thread},
        )
    except subprocess.TimeoutExpired:
        return None
