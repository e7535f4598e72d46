# SPDX-License-Identifier: Apache-2.0
"""What the networks of bundles cost, each measured in a fresh process."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from akd_monai.bundle.load import build_network
from akd_monai.bundle.metadata import bundle_path, input_shape, read_metadata
from akd_monai.errors import InputError
from akd_monai.networks.profile import machine_facts, profile_network, profile_note, profile_table, write_profile

__all__ = ["profile_bundles"]

_RUN_FACTS = ("time_ms", "time_min_ms", "time_max_ms", "peak_memory_mb", "peak_memory_note")


def profile_bundles(
    bundles: Sequence[str | Path],
    *,
    size: int | Sequence[int] | None = None,
    device: str | None = None,
    repeats: int = 5,
    threads: int | None = None,
    as_json: bool = False,
    output_file: str | Path | None = None,
    paper: bool = False,
    trust_bundle: bool = False,
) -> str:
    """Return a table of parameters, GFLOPs, time and memory of bundles' untrained networks.

    Args:
        bundles: folders; each network is measured in a fresh process.
        size: side of the input, or a list of sides; the metadata's by default.
        device: ``cpu`` or ``cuda``; by default the CPU, and the GPU too if there is one.
        repeats: timed forward passes.
        threads: CPU threads; as PyTorch chooses by default.
        as_json: return JSON with all facts instead of the table.
        output_file: also write the table, or JSON to a file that ends in ``.json``; see
            :func:`~akd_monai.networks.profile.write_profile`.
        paper: add the columns of the paper's Table 1.
        trust_bundle: evaluate expressions in the bundles' configs and import what they name; only for bundles whose author
            you trust.

    Raises:
        InputError: for no bundle, a folder that is none, a size that does not fit the network, or a device that does not
            exist.

    Example:
        >>> profile_bundles([])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: profile needs at least one bundle: ...
    """
    if not bundles:
        raise InputError("profile needs at least one bundle: python -m akd_monai profile bundles/prostate_mri_enet")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads must be an integer of 1 or more, got {threads!r}.")
    devices = _devices(device)
    threads = threads or torch.get_num_threads()
    shapes = [_shape(bundle, size) for bundle in bundles]
    profiles = [
        _in_fresh_process(bundle, shape, devices, repeats, threads, trust_bundle)
        for bundle, shape in zip(bundles, shapes, strict=True)
    ]
    facts = {"machine": machine_facts(), "threads": threads, "repeats": repeats, "profiles": profiles}
    as_text = json.dumps(facts, indent=2)
    table = f"{profile_table(profiles, paper=paper)}\n\n{profile_note(devices, repeats=repeats, threads=threads)}"
    if output_file is not None:
        write_profile(output_file, as_text if Path(output_file).suffix == ".json" else table)
    return as_text if as_json else table


def _devices(wanted: str | None) -> list[str]:
    if wanted is None:
        return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    kind, _, number = str(wanted).partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(kind, 0)
    if not (number.isdecimal() or not number) or int(number or 0) >= count:
        raise InputError(f"device {wanted!r} does not exist; give cpu or, with a GPU, cuda.")
    return [wanted]


def _shape(bundle: str | Path, size: int | Sequence[int] | None) -> tuple[int, ...]:
    channels, *spatial = input_shape(read_metadata(bundle))
    sides = _sides(size, spatial)
    if len(sides) != len(spatial) or not all(type(side) is int and side > 0 for side in sides):
        raise InputError(f"size must be one side or {len(spatial)} for bundle {str(bundle)!r}, got {size!r}.")
    return (1, channels, *sides)


def _sides(size: int | Sequence[int] | None, spatial: list[int]) -> list[Any]:
    if size is None:
        return spatial
    if isinstance(size, int):
        return [size] * len(spatial)
    return list(size)


def _in_fresh_process(
    bundle: str | Path, shape: tuple[int, ...], devices: Sequence[str], repeats: int, threads: int, trust: bool
) -> dict[str, Any]:
    """Measure one bundle where no memory is left of what ran before."""
    bundle_path(bundle)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_profile, (str(bundle), shape, list(devices), repeats, threads, trust))


def _profile(
    bundle: str, shape: tuple[int, ...], devices: list[str], repeats: int, threads: int, trust: bool
) -> dict[str, Any]:
    torch.set_num_threads(threads)
    network = build_network(bundle, trust_bundle=trust)
    facts: dict[str, Any] = {}
    runs = {}
    for device in devices:
        found = profile_network(network, shape, repeats=repeats, device=device)
        runs[device] = {key: found.pop(key) for key in _RUN_FACTS if key in found}
        facts = found
    return {"name": Path(bundle).resolve().name, "network": type(network).__name__, **facts, "runs": runs}
