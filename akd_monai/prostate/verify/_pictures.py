# SPDX-License-Identifier: Apache-2.0
"""Pictures of cases with findings: three slices with the outline of the mask, and what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import turned_to
from akd_monai.data.nifti import FileError, read_nifti
from akd_monai.data.nifti_geometry import nifti_affine
from akd_monai.data.parallel import for_each
from akd_monai.files import atomic_write
from akd_monai.prostate.verify._check import CaseFiles
from akd_monai.prostate.verify.report import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_pictures"]

_Volume = NDArray[np.float32]

_SLICES = 3
_LINES = 6
_LINE_LENGTH = 130


@dataclass(frozen=True)
class _Job:
    """One picture to draw: either file may be missing or unreadable."""

    image: Path | None
    label: Path | None
    title: str
    words: tuple[str, ...]
    path: Path


def draw_pictures(
    cases: Iterable[CaseFiles], findings: Sequence[Finding], output_dir: Path, *, workers: int, progress: bool
) -> list[Path]:
    """Write ``pictures/SITE_CaseNN.png`` for each case with findings, and return the paths.

    The pictures hold no metadata; what cannot be read is left out of them.
    """
    jobs = list(_jobs(cases, findings, output_dir / "pictures"))
    drawn = for_each(_draw_case, jobs, workers=workers, progress=progress, title="pictures")
    return [path for _, path in drawn if path is not None]


def _jobs(cases: Iterable[CaseFiles], findings: Sequence[Finding], folder: Path) -> Iterator[_Job]:
    for files in cases:
        words = [f"{f.severity} [{f.code}] {f.message}" for f in findings if f.case == files.case]
        if words:
            path = folder / f"{files.case.replace('/', '_')}.png"
            yield _Job(*files.paths, files.case, tuple(words), path)


def _draw_case(job: _Job) -> Path:
    from matplotlib.figure import Figure

    image = _read(job.image)
    label = _read(job.label)
    if image is not None and label is not None and image.shape != label.shape:
        label = None
    background = label if image is None else image
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    if background is None:
        figure.text(0.5, 0.6, "no readable volume", ha="center")
    else:
        panels = figure.subplots(1, _SLICES)
        for axes, index in zip(panels, _chosen_slices(background, label), strict=True):
            _draw_slice(axes, background, label, index)
    figure.suptitle(_heading(job), fontsize=8, x=0.01, ha="left")
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return atomic_write(job.path, stream.getvalue())


def _heading(job: _Job) -> str:
    lines = [job.title]
    for words in job.words[:_LINES]:
        lines += textwrap.wrap(words, _LINE_LENGTH)[:2]
    return "\n".join(lines)


def _read(path: Path | None) -> _Volume | None:
    if path is None:
        return None
    try:
        nifti = read_nifti(path)
    except FileError:
        return None
    array: NDArray[Any] = nifti.array()
    while array.ndim > 3:
        array = array[..., 0]
    if array.ndim != 3 or not array.size:
        return None
    with np.errstate(over="ignore"):
        volume = np.nan_to_num(array.astype(np.float32))
    try:
        affine, _ = nifti_affine(nifti)
    except FileError:
        return volume
    return turned_to(volume, affine, "LPS")[0]


def _chosen_slices(background: _Volume, label: _Volume | None) -> list[int]:
    """Return first, middle and last slice of the gland, or a quarter, half and three quarters of the volume."""
    depth = background.shape[2]
    low = depth // 4
    high = 3 * depth // 4
    if label is not None and (label > 0.5).any():
        gland = np.flatnonzero((label > 0.5).any(axis=(0, 1)))
        low = int(gland[0])
        high = int(gland[-1])
    return [low, (low + high) // 2, min(high, depth - 1)]


def _draw_slice(axes: Axes, background: _Volume, label: _Volume | None, index: int) -> None:
    low, high = np.percentile(background, [1, 99])
    axes.imshow(background[:, :, index].T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    if label is not None:
        gland = label[:, :, index].T > 0.5
        # A contour needs both sides of its level.
        if gland.any() and not gland.all():
            axes.contour(gland, [0.5], colors="red", linewidths=0.8)
    axes.set_title(f"slice {index}", fontsize=8)
    axes.set_axis_off()
