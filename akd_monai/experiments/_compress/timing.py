# SPDX-License-Identifier: Apache-2.0
"""Processor time from a volume in memory to its mask, of several exported networks in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from akd_monai.data.checked_volume import checked_volume
from akd_monai.deploy._model import open_model
from akd_monai.deploy._pipeline import predict

__all__ = ["Timed", "cpu_seconds_of"]


@dataclass(frozen=True)
class Timed:
    """What was measured.

    Args:
        engine: name and version of the library.
        seconds: CPU seconds a volume by network, a median over rounds.
        shapes: of the volumes.
    """

    engine: str
    seconds: dict[str, float]
    shapes: list[list[int]]


def cpu_seconds_of(models: Mapping[str, Path], volumes: Sequence[Path], *, rounds: int = 5, threads: int = 1) -> Timed:
    """Measure networks in turn, so that a disturbance affects all of them alike.

    A volume is read before; what counts is preparing it, the network, and the way back to the volume's own grid.

    Args:
        models: ONNX files by name.
        volumes: images for all of them.
        rounds: how often each network is timed, after one round that is not.
        threads: of the engine.
    """
    opened = {name: open_model(path, threads=threads) for name, path in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for number in range(rounds + 1):
        for name, model in opened.items():
            files = [checked_volume(path, channels=model.recipe.channels) for path in volumes]
            start = time.process_time()
            for file in files:
                predict(file, model.recipe, model.network)
            if number:
                seconds[name].append((time.process_time() - start) / len(files))
    engine = next(iter(opened.values())).network.engine
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return Timed(engine, medians, [list(file.array.shape) for file in files])
