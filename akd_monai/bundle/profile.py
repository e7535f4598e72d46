# SPDX-License-Identifier: Apache-2.0
"""What the networks of bundles cost, each measured in a fresh process."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from akd_monai.bundle.load import build_network
from akd_monai.bundle.metadata import bundle_path, input_shape, read_metadata
from akd_monai.errors import InputError
from akd_monai.networks.profile.measure import profile_network
from akd_monai.networks.profile.table import profile_table, write_profile

_RUN_FACTS = ("time_ms", "time_min_ms", "time_max_ms", "peak_memory_mb", "peak_memory_note")


def profile_bundles(
    bundles: Sequence[str | Path],
    *,
    size: int | Sequence[int] | None = None,
    device: str | None = None,
    repeats: int = 5,
    threads: int | None = None,
    as_json: bool = False,
    output: str | Path | None = None,
    paper: bool = False,
    machine: Mapping[str, Any] | None = None,
) -> str:
    """Count, time and weigh the untrained networks of bundles; return a table, or JSON.

    Args:
        bundles: folders.
        size: side of the input, or list of sides; the metadata's by default.
        device: where to run; by default the CPU, and the GPU too if there is one.
        repeats: timed passes.
        threads: CPU threads; as PyTorch chooses by default.
        as_json: return JSON with all facts instead of the table.
        output: also write the table (or, to a file that ends in ``.json``, the JSON); see
            :func:`~akd_monai.networks.profile.table.write_profile`.
        paper: add the figures that the published comparison printed.
        machine: facts about the machine, to stand below the table: ``cpu``, ``gpu``, ``torch``.

    Raises:
        InputError: for no bundle, a folder that is none, a size that does not fit the network, or a device that is not
            there.
    """
    if not bundles:
        raise InputError("profile needs at least one bundle: python -m akd_monai profile bundles/prostate_mri_enet")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads must be a whole number of 1 or more, got {threads!r}.")
    devices = _devices(device)
    threads = threads or torch.get_num_threads()
    shapes = [_shape(b, size) for b in bundles]
    profiles = [_in_fresh_process(b, s, devices, repeats, threads) for b, s in zip(bundles, shapes, strict=True)]
    facts = {"machine": dict(machine or {}), "threads": threads, "repeats": repeats, "profiles": profiles}
    as_text = json.dumps(facts, indent=2)
    table = f"{profile_table(profiles, paper=paper)}\n\n{_note(facts, devices)}"
    if output is not None:
        write_profile(output, as_text if Path(output).suffix == ".json" else table)
    return as_text if as_json else table


def _devices(wanted: str | None) -> list[str]:
    if wanted is None:
        return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    kind, _, number = wanted.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(kind, 0)
    if not (number.isdecimal() or not number) or int(number or 0) >= there:
        raise InputError(f"device {wanted!r} is not there; give cpu or, with a GPU, cuda.")
    return [wanted]


def _shape(bundle: str | Path, size: int | Sequence[int] | None) -> tuple[int, ...]:
    channels, *spatial = input_shape(read_metadata(bundle))
    sides: list[Any] = spatial if size is None else [size] * len(spatial) if isinstance(size, int) else list(size)
    if len(sides) != len(spatial) or not all(type(s) is int and s > 0 for s in sides):
        raise InputError(f"size must be one side or {len(spatial)} for bundle {str(bundle)!r}, got {size!r}.")
    return (1, channels, *sides)


def _in_fresh_process(
    bundle: str | Path, shape: tuple[int, ...], devices: Sequence[str], repeats: int, threads: int
) -> dict[str, Any]:
    """Measure one bundle where no memory is left of what ran before."""
    bundle_path(bundle)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_profile, (str(bundle), shape, list(devices), repeats, threads))


def _profile(bundle: str, shape: tuple[int, ...], devices: list[str], repeats: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    network = build_network(bundle)
    facts: dict[str, Any] = {}
    runs = {}
    for device in devices:
        found = profile_network(network, shape, repeats=repeats, device=device)
        runs[device] = {key: found.pop(key) for key in _RUN_FACTS if key in found}
        facts = found
    return {"name": Path(bundle).resolve().name, "network": type(network).__name__, **facts, "runs": runs}


def _note(facts: Mapping[str, Any], devices: Sequence[str]) -> str:
    """Say in one paragraph how the table was made."""
    machine = facts["machine"]
    parts = [f"batch of 1, float32, untrained weights, median of {facts['repeats']} passes without gradient"]
    if "cpu" in devices:
        threads = facts["threads"]
        parts.append(f"{machine.get('cpu', 'CPU')} with {threads} thread{'s' if threads > 1 else ''}")
    if any(d.startswith("cuda") for d in devices):
        parts.append(str(machine.get("gpu", "GPU")))
    if "torch" in machine:
        parts.append(f"torch {machine['torch']}")
    return f"Measured with: {'; '.join(parts)}. MiB is how far one pass raised the memory in use."
