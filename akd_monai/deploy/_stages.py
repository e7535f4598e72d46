# SPDX-License-Identifier: Apache-2.0
"""What each step from a volume to its mask costs, measured in a process that does nothing else."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.checked_volume import checked_volume
from akd_monai.data.placement import nifti_like, write_mask
from akd_monai.deploy._engines import Network
from akd_monai.deploy._model import open_model
from akd_monai.deploy._pipeline import predict
from akd_monai.errors import InputError

__all__ = ["Stages", "main", "measured_stages", "process_environment", "stages_in_fresh_process"]

_MB = 1e6
_PROGRAM = "from akd_monai.deploy._stages import main; main()"
_FAILED = "failed"


@dataclass(frozen=True)
class Stages:
    """CPU seconds of one volume, user and system, the median of several; and memory.

    Args:
        engine: name and version.
        precision: in which the network was really computed.
        start: from the start of the process until a volume can be read: imports, opening of the network.
        reading: the file, with its checks.
        preparing: until the network is first called.
        network: all calls of the network.
        finishing: probabilities, the way back to the image's grid, the decision on classes.
        writing: the mask.
        start_mb: the most memory of the process in 10^6 bytes until a volume can be read.
        peak_mb: the same until the last mask is written.
    """

    engine: str
    precision: str
    start: float
    reading: float
    preparing: float
    network: float
    finishing: float
    writing: float
    start_mb: float
    peak_mb: float

    @property
    def volume(self) -> float:
        """Return the CPU seconds of a volume, the start left out."""
        return self.reading + self.preparing + self.network + self.finishing + self.writing


class _Watched:
    """A network whose calls are timed.

    Args:
        network: in an engine.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.seconds = 0.0
        self.first = 0.0

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits."""
        begun = time.process_time()
        self.first = self.first or begun
        logits = self._network.run(batch)
        self.seconds += time.process_time() - begun
        return logits


def measured_stages(
    model: str | os.PathLike[str],
    volume: str | os.PathLike[str],
    mask: str | os.PathLike[str],
    *,
    engine: str = "auto",
    threads: int | None = 1,
    repeats: int = 1,
    trust_bundle: bool = False,
) -> Stages:
    """Segment a volume several times in this process.

    Args:
        model: an ONNX file or a bundle's folder.
        volume: the image.
        mask: where the mask is written.
        engine: as for :func:`~akd_monai.deploy.segment`.
        threads: of the engine.
        repeats: how often.
        trust_bundle: for engine ``torch``.
    """
    opened = open_model(model, engine=engine, threads=threads, trust_bundle=trust_bundle)
    start = time.process_time()
    start_mb = _peak_mb()
    rounds = []
    for _ in range(repeats):
        watched = _Watched(opened.network)
        marks = [time.process_time()]
        file = checked_volume(volume, channels=opened.recipe.channels)
        marks.append(time.process_time())
        found = predict(file, opened.recipe, Network(opened.network.engine, watched.run)).mask
        marks.append(time.process_time())
        write_mask(mask, nifti_like(found, file.affine, volume))
        marks.append(time.process_time())
        rounds.append(_round(marks, watched))
    peak_mb = _peak_mb()
    middle = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return Stages(
        engine=opened.network.engine,
        precision=opened.network.precision(),
        start=start,
        start_mb=start_mb,
        peak_mb=peak_mb,
        **middle,
    )


def _round(marks: list[float], watched: _Watched) -> dict[str, float]:
    begun, is_read, is_found, is_written = marks
    preparing = watched.first - is_read
    return {
        "reading": is_read - begun,
        "preparing": preparing,
        "network": watched.seconds,
        "finishing": is_found - is_read - preparing - watched.seconds,
        "writing": is_written - is_found,
    }


def _peak_mb() -> float:
    """Return the most memory of this process; what its parent had does not count, as in ``ru_maxrss``."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.is_file() else []
    for line in lines:
        # some kernels leave it out
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / _MB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB


def stages_in_fresh_process(model: str | os.PathLike[str], volume: Any, mask: Any, **options: Any) -> Stages:
    """Return :func:`measured_stages` of a process of its own, in which no library uses more threads than the engine.

    Raises:
        InputError: with what the process said, where it ended with an error of the user's.
    """
    given = {"model": os.fspath(model), "volume": os.fspath(volume), "mask": os.fspath(mask), **options}
    environment = process_environment(options.get("threads") or 1)
    command = [sys.executable, "-c", _PROGRAM, json.dumps(given)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measurement of {given['model']} ended with {done.returncode}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if _FAILED in found:
        raise InputError(found[_FAILED].rstrip("."))
    return Stages(**found)


def process_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process of its own, in which libraries use so many threads."""
    # the package may not be installed but lie in the folder where Python was started
    search_path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": search_path}


def main() -> None:
    """Measure what the first argument says, as JSON, and print the result as JSON."""
    given = json.loads(sys.argv[1])
    try:
        found = asdict(measured_stages(given.pop("model"), given.pop("volume"), given.pop("mask"), **given))
    except InputError as error:
        found = {_FAILED: str(error)}
    sys.stdout.write(f"{json.dumps(found)}\n")
