# SPDX-License-Identifier: Apache-2.0
"""Which sizes and shapes do real prostates have? Recomputes ``gland_statistics.json`` of the phantom.

    python benchmarks/gland_statistics.py NCI_ISBI_2013/Training akd_monai/prostate/phantom/gland_statistics.json

Reads the expert label volumes of NCI-ISBI 2013 (NRRD; 1 = peripheral zone, 2 = central gland; rows run towards the
back, slices towards the head) and writes a table of statistics, no volume. The largest connected piece of each gland is
measured. Scans without an endorectal coil (``Prostate3T-*``) and with one (``ProstateDx-*``) are kept apart: the coil
flattens the gland.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import itk
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GROUPS = {"no_coil": "Prostate3T-", "endorectal": "ProstateDx-"}
LEVELS = 11  # heights from apex to base at which the profiles are given
FIELDS = ("log_width_mm", "log_height_mm", "log_length_mm")


def measure(path: Path) -> dict[str, Any]:
    """Return extents in mm, volume, and profiles from apex to base, of one label volume."""
    image = itk.imread(str(path))
    labels = itk.array_from_image(image)
    across, back, up = (float(s) for s in image.GetSpacing())
    pieces, count = ndimage.label(labels > 0)
    gland = pieces == 1 + np.argmax([np.sum(pieces == i) for i in range(1, count + 1)])
    slices = np.flatnonzero(gland.any(axis=(1, 2)))
    rows = np.flatnonzero(gland.any(axis=(0, 2)))
    columns = np.flatnonzero(gland.any(axis=(0, 1)))
    area = gland[slices].sum(axis=(1, 2)).astype(float)
    central = (gland & (labels == 2))[slices].sum(axis=(1, 2)) / area
    centre_row = np.array([np.mean(np.nonzero(gland[z])[0]) for z in slices])
    extent = {
        "width_mm": (np.ptp(columns) + 1) * across,
        "height_mm": (np.ptp(rows) + 1) * back,
        "length_mm": len(slices) * up,
    }
    volume = gland.sum() * across * back * up
    return {
        **{f"log_{name}": float(np.log(value)) for name, value in extent.items()},
        "volume_cm3": volume / 1000,
        "fill": volume / np.prod(list(extent.values())),
        "area": _profile(area / area.max()),
        "central": _profile(central),
        "centre": _profile((centre_row - np.average(centre_row, weights=area)) * back / extent["height_mm"]),
    }


def _profile(values: NDArray[Any]) -> NDArray[Any]:
    middles = (np.arange(len(values)) + 0.5) / len(values)
    return np.interp(np.linspace(0, 1, LEVELS), middles, values)


def summarise(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means, standard deviations and the covariance of the logarithms of the extents."""
    extents = np.array([[case[field] for field in FIELDS] for case in cases])
    fill = np.array([case["fill"] for case in cases])
    volume = np.array([case["volume_cm3"] for case in cases])
    # a label without peripheral zone says nothing about the zones
    profiles = {
        "area": np.array([case["area"] for case in cases]),
        "central": np.array([case["central"] for case in cases if case["central"].min() < 1]),
        "centre": np.array([case["centre"] for case in cases]),
    }
    return {
        "cases": len(cases),
        "volume_cm3": {"mean": _round(volume.mean()), "sd": _round(volume.std(ddof=1))},
        "volume_cm3_median": _round(np.median(volume)),
        "log_extent_mean": _round(extents.mean(axis=0)),
        "log_extent_covariance": _round(np.cov(extents.T)),
        "fill": {"mean": _round(fill.mean()), "sd": _round(fill.std(ddof=1))},
        **{f"{name}_mean": _round(values.mean(axis=0)) for name, values in profiles.items()},
        **{f"{name}_sd": _round(values.std(axis=0, ddof=1)) for name, values in profiles.items()},
    }


def _round(values: Any) -> Any:
    return np.round(values, 4).tolist()


def main() -> None:
    """Measure every label volume of a folder and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of *.nrrd label volumes")
    parser.add_argument("output", type=Path, nargs="?", help="JSON file to write; without it the table is printed")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.nrrd"))
    table: dict[str, Any] = {
        "about": "Statistics of expert gland labels, NCI-ISBI 2013 (doi:10.7937/K9/TCIA.2015.zF0vlOPv, CC BY 3.0),"
        " computed by benchmarks/gland_statistics.py. Extents are those of the bounding box of the largest piece;"
        f" profiles run from apex to base in {LEVELS} steps: 'area' is relative to the largest slice, 'central' the"
        " share of the central gland, 'centre' the front-to-back position of each slice's centre as a share of the"
        " height (back positive); 'fill' is volume / (width x height x length).",
        "extent_order": [field.removeprefix("log_") for field in FIELDS],
    }
    for group, prefix in GROUPS.items():
        cases = [measure(path) for path in paths if path.name.startswith(prefix)]
        if len(cases) < 4:
            parser.error(f"{arguments.folder} holds {len(cases)} label volumes {prefix}*.nrrd; at least 4 are needed")
        table[group] = summarise(cases)
    text = json.dumps(table, indent=1) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        arguments.output.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{len(paths)} labels measured, written to {arguments.output}\n")


if __name__ == "__main__":
    main()
