# SPDX-License-Identifier: Apache-2.0
"""Measure the networks of an experiment once, and keep what was measured beside its pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle import build_network
from akd_monai.experiments._cpu_time import cpu_seconds
from akd_monai.files import read_json, write_json
from akd_monai.networks.profile import machine_facts, profile_network

__all__ = ["COSTS", "SLICES", "measured_costs"]

COSTS = "costs.json"
# slices of the volume that times are for; that many times the time of a few, for a large network takes minutes
SLICES = 24
_TIMED_SLICES = 4
_ROUNDS = 3


def measured_costs(
    bundles: Mapping[str, Path], size: Sequence[int], settings: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Return the cost of each network and the machine it was measured on, from ``costs.json`` if it is of these networks.

    A page that is written again therefore says the same; delete the file to measure again.

    Args:
        bundles: folder of each network by its name.
        size: height and width of a slice.
        settings: what makes the networks what they are, to be compared with the record.
        folder: where ``costs.json`` is.

    Returns:
        ``networks``, by name: ``parameters``, ``gflops`` of one slice, ``cpu_seconds`` of a volume of 24 slices on one
        thread; ``machine``; ``identity``, what was compared.
    """
    file = folder / COSTS
    identity = {"size": list(size), "slices": SLICES, "networks": dict(settings)}
    if file.is_file():
        before: dict[str, Any] = read_json(file, remedy="delete the file; it is then measured again")
        if before.get("identity") == identity:
            return before
    networks = {name: build_network(path) for name, path in bundles.items()}
    seconds = cpu_seconds(networks, (size[0], size[1], _TIMED_SLICES), rounds=_ROUNDS)
    measured = {}
    for name, network in networks.items():
        facts = profile_network(network, (1, 1, size[0], size[1]), repeats=1)
        measured[name] = {
            "parameters": int(facts["parameters"]),
            "gflops": float(facts["gflops_conv"]),
            "cpu_seconds": seconds[name] * SLICES / _TIMED_SLICES,
        }
    record = {"identity": identity, "machine": machine_facts(), "networks": measured}
    write_json(file, record, sort_keys=True)
    return record
