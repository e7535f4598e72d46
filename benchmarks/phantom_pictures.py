# SPDX-License-Identifier: Apache-2.0
"""Pictures of the SYNTHETIC sites: side by side, or each beside real slices of a folder of yours.

    python -m benchmarks.phantom_pictures --output docs/images/phantom-six-sites.png
    python -m benchmarks.phantom_pictures --output beside.png --beside PREPARED

``PREPARED`` is a folder in the six-site layout. A picture made with it shows patients: keep it where the data may be.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from akd_monai.data.cases import read_cases
from akd_monai.data.geometry import turned_to
from akd_monai.data.nifti import read_nifti
from akd_monai.data.sites import SITES, site
from akd_monai.prostate.phantom import make_case

logger = logging.getLogger(__name__)

Pair = tuple[NDArray[Any], NDArray[Any]]
_COLOURS = 128


def synthetic(name: str, number: int, size: int) -> Pair:
    """Return image and mask of a synthetic case."""
    image, label, _ = make_case(name, number, size=size, slices=None)
    return image, label


def real(image: str, label: str) -> Pair:
    """Return image and mask of a case on disk, turned to left, back, up."""
    grey = read_nifti(Path(image))
    mask = read_nifti(Path(label))
    affine = np.array(grey.image.affine, dtype=np.float64)
    return turned_to(grey.array(), affine, "LPS")[0], turned_to(mask.array() > 0, affine, "LPS")[0]


def draw(axes: Axes, pair: Pair, share: float, title: str, outline: bool) -> None:
    """Show the slice at ``share`` of the way from apex to base, also past it."""
    image, label = pair
    drawn = np.flatnonzero(label.any(axis=(0, 1)))
    index = min(int(drawn[0]) + round(share * (len(drawn) - 1)), image.shape[2] - 1)
    low, high = np.percentile(image, [0.5, 99.5])
    axes.imshow(image[:, :, index].T, cmap="gray", vmin=low, vmax=high)
    if outline and label[:, :, index].any():
        axes.contour(label[:, :, index].T > 0, [0.5], colors="red", linewidths=1.1)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def side_by_side(size: int) -> Figure:
    """Six columns, one a site; middle of the gland without and with its outline, near the apex, and above the base."""
    figure = Figure(figsize=(12, 8.6), layout="constrained")
    grid = figure.subplots(4, len(SITES))
    for column, place in enumerate(SITES):
        pair = synthetic(place.name, 1, size)
        draw(grid[0, column], pair, 0.5, f"{place.code} {place.name} (synthetic)", outline=False)
        draw(grid[1, column], pair, 0.5, "middle, mask", outline=True)
        draw(grid[2, column], pair, 0.2, "towards the apex, mask", outline=True)
        draw(grid[3, column], pair, 1.15, "above the base", outline=True)
    return figure


def beside(folder: Path, size: int) -> Figure:
    """One row a site of ``folder``: two real cases, then two synthetic ones of that site."""
    cases = [case for case in read_cases(folder) if case["site"].upper() in {s.name for s in SITES}]
    names = list(dict.fromkeys(case["site"] for case in cases))
    figure = Figure(figsize=(10, 2.7 * max(1, len(names))), layout="constrained")
    grid = figure.subplots(len(names), 4, squeeze=False)
    for row, name in enumerate(names):
        mine = [case for case in cases if case["site"] == name][:2]
        for column, case in enumerate(mine):
            draw(grid[row, column], real(case["image"], case["label"]), 0.5, f"{name}, real", outline=True)
        for column in range(len(mine), 2):
            grid[row, column].set_axis_off()
        for column in (2, 3):
            pair = synthetic(site(name).name, column - 2, size)
            draw(grid[row, column], pair, 0.5, f"{name}, synthetic", outline=True)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a small PNG without metadata; few grey levels are enough to look at."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(stream).convert("RGB").quantize(_COLOURS, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw one of the two pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--beside", type=Path, help="folder in the six-site layout, whose slices are shown too")
    parser.add_argument("--size", type=int, default=192, help="pixels of a synthetic slice")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    save(side_by_side(given.size) if given.beside is None else beside(given.beside, given.size), given.output)
    logger.info("written: %s", given.output)


if __name__ == "__main__":
    main()
