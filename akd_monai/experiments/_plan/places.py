# SPDX-License-Identifier: Apache-2.0
"""The GPUs of each place where a cell runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from akd_monai.errors import InputError

__all__ = ["check_present", "grouped", "grouped_machine", "machine_places"]

# as CUDA_VISIBLE_DEVICES takes them
_GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def check_present(gpus: Sequence[str]) -> None:
    """Refuse GPUs that this machine does not have, without which cells would train on the CPU and say nothing.

    Args:
        gpus: as given by a user. A number is compared with those of the machine, unless this process sees a part of them.

    Raises:
        InputError: naming what is missing.
    """
    if not gpus:
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [name for group in gpus for name in group.split(",")]
    is_part = "CUDA_VISIBLE_DEVICES" in os.environ
    missing = [name for name in names if not count or (name.isdigit() and int(name) >= count and not is_part)]
    if missing:
        found = f"it has {count}, from 0 to {count - 1}" if count else "PyTorch finds none"
        raise InputError(
            f"this machine has no GPU {missing[0]}: {found}",
            where="gpus",
            remedy="leave gpus out to run on the CPU, or install PyTorch with CUDA",
        )


def grouped(gpus: Sequence[str], per_cell: int, where: str = "gpus") -> list[str]:
    """Return the GPUs of each place, as ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        gpus: one name for each GPU, or groups of ``per_cell`` names.
        per_cell: GPUs of a cell.
        where: what names them, for messages.

    Raises:
        InputError: if the names do not make groups of that size.

    Example:
        >>> grouped(["0", "1", "2", "3"], 2), grouped(["0,3", "1,2"], 2)
        (['0,1', '2,3'], ['0,3', '1,2'])
    """
    _check_names(gpus, where)
    if per_cell == 1:
        return list(gpus)
    are_groups = any("," in name for name in gpus)
    groups = list(gpus)
    if not are_groups:
        groups = [",".join(gpus[start : start + per_cell]) for start in range(0, len(gpus), per_cell)]
    for group in groups:
        if len(group.split(",")) != per_cell:
            raise InputError(
                f"{list(gpus)} do not make groups of {per_cell}, as gpus_per_cell of the experiment asks",
                where=where,
                remedy="name a multiple of that many GPUs, or change gpus_per_cell",
            )
    return groups


def _check_names(gpus: Sequence[str], where: str) -> None:
    """Refuse what no GPU is called, with which a cell would run on the CPU, and a GPU that would have two cells."""
    names = [name for group in gpus for name in group.split(",")]
    for name in names:
        if not _GPU.fullmatch(name):
            raise InputError(
                f"{name!r} is no GPU", where=where, remedy="name them by number, as 0,1, or by UUID, as GPU-..."
            )
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise InputError(f"GPU {twice[0]!r} comes twice", where=where, remedy="it takes one cell at a time")


def grouped_machine(machine: Mapping[str, Any], per_cell: int) -> dict[str, Any]:
    """Return the content of a machine file with its accelerators in groups of ``per_cell``.

    Raises:
        InputError: if they do not make such groups.
    """
    executor = dict(machine["executor"])
    given = executor.get("available_accelerators")
    # a value of another kind is refused where the file meets Parsl's classes
    names = [str(number) for number in range(given)] if type(given) is int else given
    if per_cell > 1 and isinstance(names, list) and all(isinstance(name, str) for name in names):
        executor["available_accelerators"] = grouped(names, per_cell, "available_accelerators of the machine file")
    return {**machine, "executor": executor}


def machine_places(machine: Mapping[str, Any]) -> int:
    """Return how many cells run at the same time when every job that the machine file allows has started.

    Example:
        >>> machine_places({"options": {"max_blocks": 8}, "executor": {"available_accelerators": 4}})
        32
    """
    options = machine["options"]
    executor = machine["executor"]
    # null, and a provider without that option, stand for Parsl's own
    accelerators = executor.get("available_accelerators") or executor.get("max_workers_per_node") or 1
    on_a_node = accelerators if isinstance(accelerators, int) else len(accelerators)
    return on_a_node * (options.get("nodes_per_block") or 1) * (options.get("max_blocks") or 1)
