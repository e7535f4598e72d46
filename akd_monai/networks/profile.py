# SPDX-License-Identifier: Apache-2.0
"""What a network costs: parameters, operations, time, memory, size on disk."""

from __future__ import annotations

import copy
import io
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from akd_monai.errors import InputError


def profile_network(
    network: nn.Module, input_shape: Sequence[int], *, repeats: int = 5, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Count and time one forward pass in ``eval`` mode without a graph; the network itself is left as it is.

    Args:
        network: returns one tensor.
        input_shape: ``(batch, channels, *spatial)``.
        repeats: timed passes after one that is not counted, at least 1.
        device: where to run.

    Returns:
        ``parameters``, ``trainable_parameters``, ``gflops_conv`` (two operations a multiplication with addition,
        convolutions and matrix products only), ``time_ms`` (median), ``time_min_ms``, ``time_max_ms``,
        ``peak_memory_mb`` (allocated on a GPU; None on a CPU, where PyTorch does not count it), ``checkpoint_bytes``
        and ``input_shape``.

    Example:
        >>> facts = profile_network(nn.Conv2d(1, 2, 3, padding=1, bias=False), (1, 1, 10, 10), repeats=1)
        >>> facts["parameters"], round(facts["gflops_conv"] * 1e9)
        (18, 3600)
    """
    if repeats < 1:
        raise InputError(f"repeats must be at least 1, got {repeats}.")
    on_gpu = torch.device(device).type == "cuda"
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    model = copy.deepcopy(network).to(device).eval()
    x = torch.zeros(tuple(input_shape), device=device)
    times = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            model(x)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        for _ in range(repeats):
            start = time.perf_counter()
            model(x)
            if on_gpu:
                torch.cuda.synchronize(device)
            times.append(1000 * (time.perf_counter() - start))
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return {
        "input_shape": list(input_shape),
        "parameters": sum(p.numel() for p in network.parameters()),
        "trainable_parameters": trainable,
        "gflops_conv": counter.get_total_flops() / 1e9,
        "time_ms": statistics.median(times),
        "time_min_ms": min(times),
        "time_max_ms": max(times),
        "peak_memory_mb": torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None,
        "checkpoint_bytes": file.tell(),
    }
