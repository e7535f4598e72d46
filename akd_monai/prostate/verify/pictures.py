# SPDX-License-Identifier: Apache-2.0
"""A picture of a case with findings: three slices with the outline of the mask, and what was found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import affine_problem, turned_to
from akd_monai.data.nifti import FileError, read_nifti
from akd_monai.files import atomic_write

_SLICES, _LINES = 3, 6


@dataclass(frozen=True)
class PictureJob:
    """A picture to draw: files (either may be missing or unreadable), words to put below it, and where it goes."""

    image: Path | None
    label: Path | None
    title: str
    words: tuple[str, ...]
    output: Path


def draw_case(job: PictureJob) -> Path:
    """Write the picture as PNG, without any metadata, and return its path; what cannot be read is left out."""
    from matplotlib.figure import Figure

    image, label = _volume(job.image), _volume(job.label)
    if image is not None and label is not None and image.shape != label.shape:
        label = None
    background = image if image is not None else label
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    if background is None:
        figure.text(0.5, 0.6, "no readable volume", ha="center")
    else:
        for axes, index in zip(figure.subplots(1, _SLICES), _chosen(background, label), strict=True):
            _draw_slice(axes, background, label, index)
    lines = [line for word in job.words[:_LINES] for line in textwrap.wrap(word, 130)[:2]]
    figure.suptitle("\n".join([job.title, *lines]), fontsize=8, x=0.01, ha="left")
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    atomic_write(job.output, stream.getvalue())
    return job.output


def _volume(path: Path | None) -> NDArray | None:
    if path is None:
        return None
    try:
        nifti = read_nifti(path)
    except FileError:
        return None
    array, affine = nifti.array(), np.asarray(nifti.image.affine, dtype=float)
    while array.ndim > 3:
        array = array[..., 0]
    if array.ndim != 3 or not array.size:
        return None
    array = np.nan_to_num(array.astype(np.float32))
    return array if affine_problem(affine) else turned_to(array, affine, "LPS")[0]


def _chosen(background: NDArray, label: NDArray | None) -> list[int]:
    """Return first, middle and last slice of the gland, or a quarter, half and three quarters of the volume."""
    gland = np.flatnonzero(label.any(axis=(0, 1))).tolist() if label is not None else []
    depth = background.shape[2]
    low, high = (gland[0], gland[-1]) if gland else (depth // 4, 3 * depth // 4)
    return [low, (low + high) // 2, min(high, depth - 1)]


def _draw_slice(axes: Any, background: NDArray, label: NDArray | None, index: int) -> None:
    low, high = np.percentile(background, [1, 99])
    axes.imshow(background[:, :, index].T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    if label is not None:
        gland = label[:, :, index].T > 0
        # A contour needs both sides of its level.
        if gland.any() and not gland.all():
            axes.contour(gland, [0.5], colors="red", linewidths=0.8)
    axes.set_title(f"slice {index}", fontsize=8)
    axes.set_axis_off()


def words_of(findings: Sequence[Any]) -> tuple[str, ...]:
    """Return the lines that stand above a picture."""
    return tuple(f"{finding.severity} [{finding.code}] {finding.message}" for finding in findings)
