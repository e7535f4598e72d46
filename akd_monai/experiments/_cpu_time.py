# SPDX-License-Identifier: Apache-2.0
"""Processor time that networks take for a volume."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import torch
from monai.inferers import SliceInferer
from torch import nn

__all__ = ["cpu_seconds"]

_ROUNDS = 5


def cpu_seconds(
    networks: Mapping[str, nn.Module], shape: tuple[int, int, int], rounds: int = _ROUNDS
) -> dict[str, float]:
    """Return the median CPU time of one volume for each network, in rounds, so that disturbances affect all alike.

    Args:
        networks: each takes slices ``[B, 1, H, W]``.
        shape: of the volume, ``(H, W, D)``.
        rounds: how often each network is timed.
    """
    volume = torch.zeros(1, 1, *shape)
    inferer = SliceInferer(roi_size=shape[:2], sw_batch_size=4, spatial_dim=2)
    seconds: dict[str, list[float]] = {key: [] for key in networks}
    threads = torch.get_num_threads()
    # one thread: with more, the time they spend waiting for each other would count as well
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(rounds):
                for key, network in networks.items():
                    start = time.process_time()
                    inferer(volume, network)
                    seconds[key].append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {key: statistics.median(values) for key, values in seconds.items()}
