# SPDX-License-Identifier: Apache-2.0
"""What several exported networks cost for a volume, one beside the other."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from akd_monai.deploy._stages import Stages, stages_in_fresh_process

__all__ = ["Timed", "time_models"]

_REPEATS = 3


@dataclass(frozen=True)
class Timed:
    """What was measured.

    Args:
        engine: name and version of the library.
        seconds: CPU seconds from the volume's file to the mask's, by network, a median over rounds.
        peak_mb: the most memory of the process, likewise.
    """

    engine: str
    seconds: dict[str, float]
    peak_mb: dict[str, float]


def time_models(models: Mapping[str, Path], volume: Path, *, rounds: int = 3) -> Timed:
    """Measure networks in turn, each time in a process of its own with one thread, so that disturbances affect all alike.

    Args:
        models: ONNX files by name.
        volume: an image for all of them.
        rounds: how often each network has its turn.
    """
    found: dict[str, list[Stages]] = {name: [] for name in models}
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.nii.gz"
        for _ in range(rounds):
            for name, path in models.items():
                found[name].append(stages_in_fresh_process(path, volume, mask, threads=1, repeats=_REPEATS))
    return Timed(
        engine=next(iter(found.values()))[0].engine,
        seconds={name: statistics.median(one.volume for one in each) for name, each in found.items()},
        peak_mb={name: statistics.median(one.peak_mb for one in each) for name, each in found.items()},
    )
