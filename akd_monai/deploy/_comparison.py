# SPDX-License-Identifier: Apache-2.0
"""How far an exported network is from the one in PyTorch: logits, and masks of volumes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from akd_monai.data.checked_volume import checked_volume
from akd_monai.deploy._engines import Network, installed_engines, open_onnx
from akd_monai.deploy._pipeline import predict
from akd_monai.deploy._recipe import Recipe
from akd_monai.deploy._reference import Reference

__all__ = ["Comparison", "compared", "failed"]

# more than rounding in single precision
_LOGITS = 1e-3
# two classes within this share of each other's probability: rounding decides between them
_TIE = 1e-3
# a max pooling whose largest values are equal but for rounding passes on another place, and a few values around it change
_FLIPPED = 5e-4
_BATCHES = (1, 3)
_ROUNDS = 3


@dataclass(frozen=True)
class Comparison:
    """One engine beside PyTorch.

    Args:
        engine: its name and version.
        largest_logit_difference: over random inputs, batches of one and of three.
        largest_logit: the largest absolute value among these, to which the difference is compared.
        logits_beyond_rounding: the share of them that differ by more than rounding explains.
        volumes: how many masks were compared.
        synthetic: whether the volumes were made for this.
        voxels: of all masks together.
        differing_voxels: how many have another class than by MONAI and PyTorch.
        largest_margin: by how much the better class was ahead in these, 0 without any.
        milliseconds: of one input of the network, the median of three.
        torch_milliseconds: the same in PyTorch, with as many threads as each library chooses.
    """

    engine: str
    largest_logit_difference: float
    largest_logit: float
    logits_beyond_rounding: float
    volumes: int
    synthetic: bool
    voxels: int
    differing_voxels: int
    largest_margin: float
    milliseconds: float
    torch_milliseconds: float

    def __str__(self) -> str:
        kind = "synthetic volumes" if self.synthetic else "volumes"
        masks = f"{self.differing_voxels} of {self.voxels} voxels of {self.volumes} {kind} differ"
        return (
            f"{self.engine}: logits differ by at most {self.largest_logit_difference:.1e}, {masks}, "
            f"{self.milliseconds:.1f} ms an input (PyTorch {self.torch_milliseconds:.1f} ms)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)


def failed(comparison: Comparison) -> Iterator[str]:
    """Yield why an export is refused."""
    if not comparison.logits_beyond_rounding <= _FLIPPED:
        yield f"{comparison.engine}: logits differ by {comparison.largest_logit_difference:.1e}"
    if not comparison.largest_margin <= _TIE and comparison.differing_voxels > _FLIPPED * comparison.voxels:
        yield (
            f"{comparison.engine}: {comparison.differing_voxels} voxels of masks differ, by margins of up to "
            f"{comparison.largest_margin:.1e}"
        )


def compared(
    file: Path,
    recipe: Recipe,
    network: nn.Module,
    volumes: Sequence[Path],
    *,
    is_synthetic: bool,
    program: Network | None = None,
) -> Iterator[Comparison]:
    """Yield a comparison for each engine that is installed.

    Args:
        file: the ONNX file.
        recipe: its metadata.
        network: the network in PyTorch.
        volumes: images.
        is_synthetic: whether they were made for this.
        program: the network in one more form.
    """
    batches = [_inputs(recipe, size) for size in _BATCHES]
    with torch.no_grad():
        wanted = [network(torch.from_numpy(batch)).numpy() for batch in batches]
        torch_ms = _milliseconds(lambda batch: network(torch.from_numpy(batch)).numpy(), batches[0])
    reference = Reference(recipe, network)
    masks = [reference.mask(path) for path in volumes]
    for opened, single in _opened(file, program):
        outputs = [opened.run(batch) for batch in batches]
        differences = [np.abs(a - b) for a, b in zip(outputs, wanted, strict=True)]
        largest = max(float(np.abs(output).max()) for output in wanted)
        voxels, margins = _differing(volumes, masks, recipe, single)
        yield Comparison(
            engine=opened.engine,
            largest_logit_difference=float(np.max([difference.max() for difference in differences])),
            largest_logit=largest,
            logits_beyond_rounding=_beyond(differences, _LOGITS * max(1.0, largest)),
            volumes=len(volumes),
            synthetic=is_synthetic,
            voxels=voxels,
            differing_voxels=len(margins),
            largest_margin=float(margins.max()) if len(margins) else 0.0,
            milliseconds=_milliseconds(single.run, batches[0]),
            torch_milliseconds=torch_ms,
        )


def _opened(file: Path, program: Network | None) -> Iterator[tuple[Network, Network]]:
    """Yield each form of the network for batches of any size, and as ``segment`` opens it."""
    for engine in installed_engines():
        yield open_onnx(file, engine), open_onnx(file, engine, one_by_one=True)
    if program is not None:
        yield program, program


def _beyond(differences: Sequence[NDArray[np.float32]], limit: float) -> float:
    """Return the share of differences above a limit; it is 1 if one is NaN, which must not pass."""
    if not all(np.isfinite(difference).all() for difference in differences):
        return 1.0
    counts = [int((difference > limit).sum()) for difference in differences]
    return sum(counts) / sum(difference.size for difference in differences)


def _inputs(recipe: Recipe, size: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(size)
    return generator.standard_normal((size, *recipe.input_shape), dtype=np.float32)


def _differing(
    volumes: Sequence[Path], masks: Sequence[NDArray[np.uint8]], recipe: Recipe, network: Network
) -> tuple[int, NDArray[Any]]:
    """Return the number of voxels, and the margin of each that differs."""
    voxels = 0
    margins = []
    for path, mask in zip(volumes, masks, strict=True):
        prediction = predict(checked_volume(path, channels=recipe.channels), recipe, network, with_margin=True)
        assert prediction.margin is not None
        voxels += mask.size
        margins.append(prediction.margin[prediction.mask != mask])
    return voxels, np.concatenate(margins)


def _milliseconds(run: Callable[[NDArray[np.float32]], Any], batch: NDArray[np.float32]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run(batch)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)
