# SPDX-License-Identifier: Apache-2.0
"""Gather what the demo's commands wrote into the record that the report is made from."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import torch
from monai.inferers import SliceInferer
from torch import nn

from akd_monai.bundle.load import load_network
from akd_monai.bundle.metadata import weights_path, weights_sha256
from akd_monai.data.cases import read_cases
from akd_monai.experiments.results import CaseFiles, Data, Profile, Results, System, case_key, read_case_rows
from akd_monai.experiments.settings import DemoSettings
from akd_monai.experiments.steps import Steps
from akd_monai.networks.profile.machine import machine_facts
from akd_monai.networks.profile.measure import profile_network

# folder of the bundle, label, role
_SYSTEMS = (
    ("prostate_mri_unetplusplus", "Teacher (UNet++), other sites", "teacher"),
    ("prostate_mri_enet", "Student (ENet) alone", "baseline"),
    ("prostate_mri_enet_distilled", "Student (ENet) distilled", "distilled"),
)
_PAPER_FEATURES = (64, 128, 256, 512, 1024)
_PAPER_SIZE = 384


def collect_results(
    folder: Path,
    data_dir: Path,
    bundles: Mapping[str, Path],
    *,
    synthetic: bool,
    sources: Sequence[str],
    target: str,
    seed: int,
    size: int,
    settings: DemoSettings,
    steps: Steps,
    split: Mapping[str, Any],
) -> Results:
    """Return the record of a finished demo.

    Args:
        folder: the demo's folder, which holds ``mlruns.db``.
        data_dir: the cases.
        bundles: folders of the three bundles by name, each with weights and the output of its training and evaluation.
        synthetic: whether the cases are the phantom's.
        sources: the teacher's sites.
        target: the student's site.
        seed: of the run.
        size: side of the slices.
        settings: of the run.
        steps: the commands that were run.
        split: summary of the target's split.
    """
    cases = {case["case_id"]: case for case in read_cases(data_dir, [target])}
    systems = [_system(bundles[name], label, role, cases) for name, label, role in _SYSTEMS]
    tested = [case_key(row) for row in systems[0]["per_case"]]
    shape = nib.load(cases[tested[0]]["image"]).shape  # type: ignore[attr-defined]
    networks = {system["key"]: load_network(bundles[system["key"]]) for system in systems}
    seconds = _cpu_seconds(networks, (size, size, int(shape[-1])))
    for system in systems:
        key = system["key"]
        system["profile"] = _profile(bundles[key], networks[key], size, int(shape[-1]), seconds[key])
    data: Data = {"kind": "real", "description": "cases of the given folder."}
    if synthetic:
        data = {"kind": "synthetic", "description": "SYNTHETIC phantom of six sites."}
    warnings = list(split["warnings"])
    return {
        "title": f"Distillation at {target}",
        "data": data,
        "protocol": "cross_site",
        "target": target,
        "sources": list(sources),
        "seed": seed,
        "settings": _used(settings, sources, target, size, synthetic),
        "reduced": _reduced(size, settings),
        "machine": dict(machine_facts()),
        "systems": systems,
        "images": {name: CaseFiles(image=cases[name]["image"], label=cases[name]["label"]) for name in tested},
        "commands": steps.commands,
        "warnings": warnings,
        "mlflow": {
            "tracking_uri": f"sqlite:///{folder / 'mlruns.db'}",
            "experiment": "demo",
            "command": f"mlflow ui --backend-store-uri sqlite:///{folder / 'mlruns.db'} --host 127.0.0.1",
        },
    }


def _system(bundle: Path, label: str, role: Any, cases: Mapping[str, Mapping[str, str]]) -> System:
    output = bundle / "eval"
    rows = read_case_rows(output / "per_case.csv")
    history = (output / "history.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = {}
    for row in rows:
        image = Path(cases[case_key(row)]["image"])
        name = image.name.removesuffix(".gz").removesuffix(".nii")
        predictions[case_key(row)] = str(output / image.parent.name / f"{name}_pred.nii.gz")
    return {
        "key": bundle.name,
        "label": label,
        "role": role,
        "per_case": rows,
        "history": [json.loads(line) for line in history],
        "predictions": predictions,
    }


def _cpu_seconds(networks: Mapping[str, nn.Module], shape: tuple[int, int, int]) -> dict[str, float]:
    """Return the median CPU time of one volume for each network, in rounds so that all meet the same disturbances."""
    volume, inferer = torch.zeros(1, 1, *shape), SliceInferer(roi_size=shape[:2], sw_batch_size=4, spatial_dim=2)
    seconds: dict[str, list[float]] = {key: [] for key in networks}
    threads = torch.get_num_threads()
    # one thread: with more, the time spent waiting for each other would count as well
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(5):
                for key, network in networks.items():
                    start = time.process_time()
                    inferer(volume, network)
                    seconds[key].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {key: statistics.median(values) for key, values in seconds.items()}


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


def _used(settings: DemoSettings, sources: Sequence[str], target: str, size: int, synthetic: bool) -> dict[str, Any]:
    """Return the settings with what was chosen where nothing was given."""
    used = {**settings.as_dict(), "sources": list(sources), "target": target, "size": size}
    return used if synthetic else {k: v for k, v in used.items() if k not in ("cases_per_site", "slices")}


def _reduced(size: int, settings: DemoSettings) -> list[str]:
    found = []
    if size != _PAPER_SIZE:
        found.append(f"slices of {size} x {size} pixels (the paper's networks take {_PAPER_SIZE} x {_PAPER_SIZE})")
    if settings.features != _PAPER_FEATURES:
        ours, theirs = (", ".join(map(str, f)) for f in (settings.features, _PAPER_FEATURES))
        found.append(f"a UNet++ of widths {ours} (the paper's has {theirs})")
    found.append(
        f"{settings.teacher_epochs} epochs of the teacher and {settings.epochs} of the students, "
        f"{settings.samples_per_epoch} slices an epoch in batches of {settings.batch_size} "
        "(the paper: 100 epochs, batches of 16)"
    )
    found.append(f"one fold of {settings.folds} and one seed (a study needs all folds and several seeds)")
    return found
