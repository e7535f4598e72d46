# SPDX-License-Identifier: Apache-2.0
"""What a trained and evaluated bundle left in its folder, as a system of a record of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
from torch import nn

from akd_monai.bundle.load import load_network
from akd_monai.bundle.metadata import weights_path, weights_sha256
from akd_monai.experiments._cpu_time import cpu_seconds
from akd_monai.experiments.results import CaseFiles, Profile, Role, System, case_key, read_case_rows
from akd_monai.handlers import read_history
from akd_monai.names import stem_of
from akd_monai.networks.profile.measure import profile_network

__all__ = ["add_profiles", "images_of", "system_of"]

Cases = Mapping[str, Mapping[str, str]]


def system_of(bundle: Path, label: str, role: Role, cases: Cases) -> System:
    """Return scores, history and predictions of a bundle.

    Args:
        bundle: its folder, with the output of its training and evaluation in ``eval``.
        label: what the report calls it.
        role: what it is.
        cases: the cases of the target by their names.
    """
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


def images_of(system: System, cases: Cases) -> dict[str, CaseFiles]:
    """Return the files of the cases that a system was evaluated on."""
    tested = [case_key(row) for row in system["per_case"]]
    return {name: CaseFiles(image=cases[name]["image"], label=cases[name]["label"]) for name in tested}


def add_profiles(systems: Sequence[System], bundles: Sequence[Path], size: Sequence[int], image: str) -> None:
    """Measure the network of each bundle and enter what it costs into its system.

    Args:
        systems: one for each bundle, in the same order.
        bundles: folders with weights.
        size: sides of a slice.
        image: file of a volume with the usual number of slices.
    """
    slices = int(nib.load(image).shape[-1])  # type: ignore[attr-defined]
    networks = {bundle.name: load_network(bundle) for bundle in bundles}
    seconds = cpu_seconds(networks, (size[0], size[1], slices))
    for system, bundle in zip(systems, bundles, strict=True):
        system["profile"] = _profile(bundle, networks[bundle.name], (*size, slices), seconds[bundle.name])


def _profile(bundle: Path, network: nn.Module, volume: Sequence[int], seconds: float) -> Profile:
    shape = (1, 1, volume[0], volume[1])
    facts = profile_network(network, shape, repeats=1)
    return {
        "parameters": int(facts["parameters"]),
        "gflops": float(facts["gflops_conv"]),
        "input_shape": list(shape),
        "cpu_seconds_per_volume": seconds,
        "volume_shape": list(volume),
        "threads": 1,
        "checkpoint_bytes": weights_path(bundle).stat().st_size,
        "checkpoint_sha256": weights_sha256(bundle),
    }
