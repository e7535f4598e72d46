# SPDX-License-Identifier: Apache-2.0
"""Cost of one network: parameters, operations, time, memory, size on disk."""

from __future__ import annotations

import copy
import io
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.networks.profile._memory import watch_memory
from akd_monai.networks.profile.operations import count_operations

__all__ = ["profile_network"]


def profile_network(
    network: nn.Module, input_shape: Sequence[int], *, repeats: int = 5, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Count the operations of one forward pass and time it, in ``eval`` mode without gradients, on a copy of the network.

    Args:
        network: takes one tensor; it is not changed.
        input_shape: ``(batch, channels, *spatial)``; the input is all zeros.
        repeats: timed passes after one that is not counted, at least 1.
        device: where to run.

    Returns:
        A dictionary with

        - ``input_shape``, ``parameters``, ``trainable_parameters``;
        - ``gflops_conv``: operations of the convolutions, two for a multiplication with its addition, in 1e9;
        - ``gflops_other``: operations of matrix products and attention; everything else is not counted;
        - ``gflops_table1``: the published comparison's convention, which counts more; see
          :func:`~akd_monai.networks.profile.count_operations`;
        - ``time_ms`` (median), ``time_min_ms``, ``time_max_ms`` of one pass;
        - ``peak_memory_mb``: by how much the passes raised the memory in use, in MiB: allocated memory on a GPU, resident
          memory of the process on a CPU. The latter rises less where the process kept memory of earlier work, so compare
          networks in fresh processes. None where the system does not report it; ``peak_memory_note`` then says why;
        - ``checkpoint_bytes``: size of the saved ``state_dict``.

    Raises:
        InputError: for fewer than one repeat, or a shape without batch and channels.

    Example:
        >>> facts = profile_network(nn.Conv2d(1, 2, 3, padding=1, bias=False), (1, 1, 10, 10), repeats=1)
        >>> facts["parameters"], round(facts["gflops_conv"] * 1e9)
        (18, 3600)
    """
    _check(input_shape, repeats)
    parameters = list(network.parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    facts = {
        "input_shape": list(input_shape),
        "parameters": _size(parameters),
        "trainable_parameters": _size(trainable),
    }
    facts |= _run(network, input_shape, repeats, torch.device(device))
    return facts | {"checkpoint_bytes": _saved_bytes(network)}


def _size(parameters: Sequence[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _check(input_shape: Sequence[int], repeats: int) -> None:
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, got {repeats}.")
    if len(input_shape) < 2 or min(input_shape) < 1:
        raise InputError(f"input_shape must be (batch, channels, *spatial), all positive, got {list(input_shape)}.")


def _run(network: nn.Module, input_shape: Sequence[int], repeats: int, device: torch.device) -> dict[str, Any]:
    model = copy.deepcopy(network).to(device).eval()
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    x = torch.zeros(tuple(input_shape), dtype=dtype, device=device)
    # memory that counting needs for itself must not be attributed to the network
    count_operations(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 1, 1))
    risen = watch_memory(device)
    with torch.no_grad():
        counts = count_operations(model, x)
        times = [_time(model, x) for _ in range(repeats)]
    facts = {
        "gflops_conv": counts["conv"],
        "gflops_other": counts["other"],
        "gflops_table1": counts["table1"],
        "time_ms": statistics.median(times),
        "time_min_ms": min(times),
        "time_max_ms": max(times),
        "peak_memory_mb": risen(),
    }
    if facts["peak_memory_mb"] is None:
        return facts | {"peak_memory_note": "this system does not report the peak of resident memory"}
    return facts


def _time(model: nn.Module, x: torch.Tensor) -> float:
    """Return the milliseconds of one pass."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    start = time.perf_counter()
    model(x)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return 1000 * (time.perf_counter() - start)


def _saved_bytes(network: nn.Module) -> int:
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return file.tell()
