# SPDX-License-Identifier: Apache-2.0
"""Gather what the demo's commands wrote into the record that the report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
from torch import nn

from akd_monai.bundle.load import load_network
from akd_monai.bundle.metadata import weights_path, weights_sha256
from akd_monai.data.cases import read_cases
from akd_monai.experiments._cpu_time import cpu_seconds
from akd_monai.experiments._demo_bundles import ALONE, DISTILLED, TEACHER
from akd_monai.experiments.results import CaseFiles, Data, Profile, Results, Role, System, case_key, read_case_rows
from akd_monai.experiments.settings import DemoSettings
from akd_monai.handlers import read_history
from akd_monai.names import stem_of
from akd_monai.networks.profile.machine import machine_facts
from akd_monai.networks.profile.measure import profile_network

__all__ = ["DemoRun", "collect_results"]

_LABELS: dict[str, tuple[str, Role]] = {
    TEACHER: ("Teacher (UNet++), other sites", "teacher"),
    ALONE: ("Student (ENet) alone", "baseline"),
    DISTILLED: ("Student (ENet) distilled", "distilled"),
}
_PAPER_FEATURES = (64, 128, 256, 512, 1024)
_PAPER_SIZE = 384


@dataclass(frozen=True)
class DemoRun:
    """What one demo works on.

    Args:
        folder: the demo's folder, which holds ``mlruns.db``.
        data_dir: the cases, in the six-site layout.
        bundles: folders of the three bundles by name.
        synthetic: whether the cases are the phantom's.
        sources: the teacher's sites.
        target: the student's site.
        seed: key of every random number.
        size: side of the slices in pixels.
        settings: sizes and schedules.
    """

    folder: Path
    data_dir: Path
    bundles: Mapping[str, Path]
    synthetic: bool
    sources: Sequence[str]
    target: str
    seed: int
    size: int
    settings: DemoSettings

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps the runs."""
        return f"sqlite:///{self.folder / 'mlruns.db'}"

    @property
    def mlflow_command(self) -> str:
        """The command that shows the runs."""
        return f"mlflow ui --backend-store-uri {self.tracking_uri} --host 127.0.0.1"


def collect_results(run: DemoRun, commands: Sequence[str], warnings: Sequence[str]) -> Results:
    """Return the record of a finished demo.

    Args:
        run: the demo; each bundle has weights and the output of its training and evaluation.
        commands: the commands that were run.
        warnings: of the target's split.
    """
    cases = {case["case_id"]: case for case in read_cases(run.data_dir, [run.target])}
    systems = [_system(run.bundles[name], label, role, cases) for name, (label, role) in _LABELS.items()]
    tested = [case_key(row) for row in systems[0]["per_case"]]
    _add_profiles(run, systems, slices=_slices(cases[tested[0]]["image"]))
    return {
        "title": f"Distillation at {run.target}",
        "data": _data(run.synthetic),
        "protocol": "cross_site",
        "target": run.target,
        "sources": list(run.sources),
        "seed": run.seed,
        "settings": _used(run),
        "reduced": _reduced(run.size, run.settings),
        "machine": dict(machine_facts()),
        "systems": systems,
        "images": {name: CaseFiles(image=cases[name]["image"], label=cases[name]["label"]) for name in tested},
        "commands": list(commands),
        "warnings": list(warnings),
        "mlflow": {"tracking_uri": run.tracking_uri, "experiment": "demo", "command": run.mlflow_command},
    }


def _data(synthetic: bool) -> Data:
    if synthetic:
        return {"kind": "synthetic", "description": "SYNTHETIC phantom of six sites."}
    return {"kind": "real", "description": "cases of the given folder."}


def _slices(image: str) -> int:
    return int(nib.load(image).shape[-1])  # type: ignore[attr-defined]


def _add_profiles(run: DemoRun, systems: Sequence[System], slices: int) -> None:
    networks = {system["key"]: load_network(run.bundles[system["key"]]) for system in systems}
    seconds = cpu_seconds(networks, (run.size, run.size, slices))
    for system in systems:
        key = system["key"]
        system["profile"] = _profile(run.bundles[key], networks[key], run.size, slices, seconds[key])


def _system(bundle: Path, label: str, role: Role, cases: Mapping[str, Mapping[str, str]]) -> System:
    output = bundle / "eval"
    rows = read_case_rows(output / "per_case.csv")
    predictions = {}
    for row in rows:
        image = Path(cases[case_key(row)]["image"])
        predictions[case_key(row)] = str(output / image.parent.name / f"{stem_of(image)}_pred.nii.gz")
    return {
        "key": bundle.name,
        "label": label,
        "role": role,
        "per_case": rows,
        "history": read_history(output / "history.jsonl"),
        "predictions": predictions,
    }


def _profile(bundle: Path, network: nn.Module, size: int, slices: int, seconds: float) -> Profile:
    facts = profile_network(network, (1, 1, size, size), repeats=1)
    return {
        "parameters": int(facts["parameters"]),
        "gflops": float(facts["gflops_conv"]),
        "input_shape": [1, 1, size, size],
        "cpu_seconds_per_volume": seconds,
        "volume_shape": [size, size, slices],
        "threads": 1,
        "checkpoint_bytes": weights_path(bundle).stat().st_size,
        "checkpoint_sha256": weights_sha256(bundle),
    }


def _used(run: DemoRun) -> dict[str, Any]:
    """Return the settings with what was chosen where nothing was given."""
    used = {**run.settings.as_dict(), "sources": list(run.sources), "target": run.target, "size": run.size}
    if not run.synthetic:
        del used["cases_per_site"]
        del used["slices"]
    return used


def _reduced(size: int, settings: DemoSettings) -> list[str]:
    found = []
    if size != _PAPER_SIZE:
        found.append(f"slices of {size} x {size} pixels (the paper's networks take {_PAPER_SIZE} x {_PAPER_SIZE})")
    if settings.features != _PAPER_FEATURES:
        ours = ", ".join(map(str, settings.features))
        theirs = ", ".join(map(str, _PAPER_FEATURES))
        found.append(f"a UNet++ of widths {ours} (the paper's has {theirs})")
    found.append(
        f"{settings.teacher_epochs} epochs of the teacher and {settings.epochs} of the students, "
        f"{settings.samples_per_epoch} slices an epoch in batches of {settings.batch_size} "
        "(the paper: 100 epochs, batches of 16)"
    )
    found.append(f"one fold of {settings.folds} and one seed (a study needs all folds and several seeds)")
    return found
