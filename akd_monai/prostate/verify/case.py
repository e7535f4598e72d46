# SPDX-License-Identifier: Apache-2.0
"""Checks of one case: image and mask each by itself, and both together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.geometry import GRID_TOLERANCE_MM, Array, corner_distance_mm, orientation_of, spacing_of, turned_to
from akd_monai.prostate.flip_evidence import flip_evidence
from akd_monai.prostate.verify.file import CheckedFile, check_file
from akd_monai.prostate.verify.report import ERROR, WARNING, Finding
from akd_monai.prostate.verify.thumbnails import thumbnail, voxel_hash

IN_PLANE_MM, THROUGH_PLANE_MM, VIEW_MM = (0.1, 2.0), (0.5, 10.0), (60.0, 500.0)
# Expert masks of the NCI-ISBI 2013 training set run from 17 to 313 cm3; pieces of a few slices are smaller.
GLAND_CM3 = (3.0, 400.0)
FLIP_WORDS = {"P": "front to back", "S": "upside down along the slices"}
_EXTREME, _SHOWN_VALUES, _MOSTLY = 1e30, 8, 0.9
_OFF_CENTRE = 0.25
# Log-likelihood ratios of flip_evidence below which a single mask is reported.
_UPSIDE_DOWN = {"P": -3.0, "S": -4.0}
# In glands of fewer slices the signs are too weak for one case; they still count towards those of its site.
_UPSIDE_DOWN_SLICES = 5


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case, with names below the data set, and what the manifest says of them."""

    case: str
    site: str
    root: Path
    image: str | None
    label: str | None
    unlabelled: bool = False
    sha256: dict[str, str | None] = field(default_factory=dict)
    label_values: tuple[int, ...] = (0, 1)
    synthetic: bool = False


@dataclass
class CaseCheck:
    """Findings and facts of one case, and what is needed to compare it with the others."""

    case: str
    site: str
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    voxels: str = ""
    thumbnail: NDArray | None = None
    flips: dict[str, float] = field(default_factory=dict)

    def add(self, file: str | None, code: str, severity: str, message: str, remedy: str, fix: str = "") -> None:
        """Add a finding of this case."""
        self.findings.append(Finding(self.case, file or "", code, severity, message, remedy, fix))


def check_case(files: CaseFiles) -> CaseCheck:
    """Check one case; never raises for a fault of the data."""
    check = CaseCheck(files.case, files.site, facts={"case": files.case, "site": files.site})
    image = _load(files, check, "image", files.image)
    label = _load(files, check, "label", files.label)
    if files.image is None:
        check.add(files.label, "no-image", ERROR, "a mask without image", "add the image or remove the mask")
    elif files.label is None and not files.unlabelled:
        remedy = "add the mask, or move the image below 'unlabelled'"
        check.add(files.image, "no-mask", ERROR, "an image without mask", remedy)
    if image is not None and files.image is not None:
        _check_image(check, files.image, image, files.synthetic)
    if label is not None and files.label is not None:
        _check_label(check, files.label, label, files.label_values)
    if image is not None and label is not None and files.label is not None:
        _check_pair(check, files.label, image, label)
    return check


def _load(files: CaseFiles, check: CaseCheck, kind: str, name: str | None) -> CheckedFile | None:
    if name is None:
        return None
    volume, findings = check_file(files.root / name, name, files.case, files.sha256.get(kind))
    check.findings += findings
    return volume


def _lps(volume: CheckedFile) -> CheckedFile:
    """Return the volume with axes to the left, to the back and upwards, so that 'in plane' and 'slice' mean something."""
    if volume.affine is None:
        return volume
    array, affine, _ = turned_to(volume.array, volume.affine, "LPS")
    return replace(volume, array=array, affine=affine)


def _check_image(check: CaseCheck, name: str, image: CheckedFile, synthetic: bool) -> None:
    check.facts |= {"size": "x".join(map(str, image.array.shape))}
    if image.affine is not None:
        check.facts["orientation"] = orientation_of(image.affine)
    image = _lps(image)
    values = image.array
    check.facts["slices"] = values.shape[2]
    bad = int(np.size(values) - np.isfinite(values).sum())
    if bad:
        check.add(name, "not-finite", ERROR, f"holds {bad} voxels that are NaN or Inf", "export the image again")
        return
    low, high = float(values.min()), float(values.max())
    check.facts |= {"min": low, "max": high, "mean": round(float(values.mean(dtype=np.float64)), 3)}
    if max(abs(low), abs(high)) > _EXTREME:
        message = f"holds values up to {max(abs(low), abs(high)):.0e}"
        check.add(name, "extreme-values", ERROR, message, "export the image again")
    elif low == high:
        check.add(name, "constant", WARNING, f"every voxel is {low:g}", "check whether the image is the right one")
    else:
        check.voxels, check.thumbnail = voxel_hash(values), thumbnail(values, image.affine)
    if image.affine is not None:
        _check_spacing(check, name, values.shape, image.affine, synthetic)


def _check_spacing(check: CaseCheck, name: str, shape: tuple[int, ...], affine: Array, synthetic: bool) -> None:
    spacing = spacing_of(affine)
    text = " x ".join(f"{mm:.3g}" for mm in spacing)
    check.facts["spacing_mm"] = text
    views = [n * mm for n, mm in zip(shape[:2], spacing[:2], strict=True)]
    limits = [
        *((mm, IN_PLANE_MM) for mm in spacing[:2]),
        (spacing[2], THROUGH_PLANE_MM),
        *((v, VIEW_MM) for v in views),
    ]
    # A synthetic set is as coarse as its user asked for.
    if not synthetic and any(not low <= value <= high for value, (low, high) in limits):
        message = (
            f"voxels of {text} mm and a view of {views[0]:.0f} x {views[1]:.0f} mm are unlikely for a prostate MRI"
        )
        check.add(
            name, "spacing", WARNING, message, "compare with the scanner's protocol; distances in mm depend on it"
        )


def _check_label(check: CaseCheck, name: str, label: CheckedFile, allowed: Collection[int]) -> None:
    label = _lps(label)
    values = label.array
    if not np.isfinite(values).all():
        check.add(name, "not-finite", ERROR, "the mask holds NaN or Inf", "export the mask again")
        return
    found, counts = np.unique(values, return_counts=True)
    check.facts["label_values"] = " ".join(f"{value:g}" for value in found[:_SHOWN_VALUES])
    if (found != np.round(found)).any():
        shown = ", ".join(f"{value:g}" for value in found[:_SHOWN_VALUES])
        remedy = "resample the mask with nearest neighbour instead of interpolation"
        check.add(name, "label-fractions", ERROR, f"holds fractions ({len(found)} values: {shown} ...)", remedy)
    elif not set(found.tolist()) <= set(allowed):
        _report_values(check, name, found, counts)
    elif label.dtype.kind == "f":
        message = f"whole numbers are stored as {label.dtype}"
        check.add(name, "label-type", WARNING, message, "run verify with fix=True, which stores uint8", "uint8")
    gland = values > 0
    share = float(gland.mean())
    check.facts["gland_slices"] = int(gland.any(axis=(0, 1)).sum())
    if share == 0:
        check.add(name, "label-empty", WARNING, "marks no voxel", "check whether the case really shows no prostate")
    elif share > _MOSTLY:
        message = f"marks {share:.0%} of all voxels"
        check.add(name, "label-full", ERROR, message, "swap foreground and background, or draw the mask again")
    else:
        _check_gland(check, name, gland, label.affine)


def _report_values(check: CaseCheck, name: str, found: NDArray, counts: NDArray) -> None:
    shown = ", ".join(f"{value:g}: {count}" for value, count in list(zip(found, counts, strict=True))[:_SHOWN_VALUES])
    fix = ""
    if set(found.tolist()) == {0, 255}:
        remedy, fix = "map 255 to 1: run verify with fix=True", "binarise"
    elif (found < 0).any():
        remedy = "find out what the negative values mean, and write background as 0"
    elif set(found.tolist()) <= {0, 1, 2}:
        remedy = "if 1 and 2 are zones of the gland, map 1 and 2 to 1 (prepare does); else keep the gland only"
    else:
        foreground = ", ".join(f"{value:g}" for value in found[found > 0][:_SHOWN_VALUES])
        remedy = f"map {foreground} to 1 if they are the gland, and to 0 if not"
    check.add(name, "label-values", ERROR, f"unexpected label values (value: voxels) {shown}", remedy, fix)


def _check_gland(check: CaseCheck, name: str, gland: NDArray, affine: Array | None) -> None:
    drawn = np.flatnonzero(gland.any(axis=(0, 1)))
    holes = sorted(set(range(int(drawn[0]), int(drawn[-1]) + 1)) - set(drawn.tolist()))
    if holes:
        message = f"slice(s) {', '.join(map(str, holes[:_SHOWN_VALUES]))} within the gland are not drawn"
        check.add(name, "label-gap", WARNING, message, "look at these slices and complete the mask")
    if affine is None:
        return
    volume = float(gland.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    check.facts["gland_cm3"] = round(volume, 2)
    if not GLAND_CM3[0] <= volume <= GLAND_CM3[1]:
        message = f"a gland of {volume:.3g} cm3 ({GLAND_CM3[0]:g} to {GLAND_CM3[1]:g} are usual)"
        check.add(name, "gland-volume", WARNING, message, "check the spacing, and whether the mask is complete")


def _check_pair(check: CaseCheck, name: str, image: CheckedFile, label: CheckedFile) -> None:
    if image.array.shape != label.array.shape:
        shapes = [list(volume.array.shape) for volume in (label, image)]
        message = f"the mask has shape {shapes[0]}, the image {shapes[1]}"
        check.add(name, "shape-mismatch", ERROR, message, "export the mask on the grid of the image")
        return
    if image.affine is not None and label.affine is not None:
        distance = corner_distance_mm(image.affine, label.affine, image.array.shape)
        if distance > GRID_TOLERANCE_MM:
            message = f"the grid of the mask lies up to {distance:.1f} mm beside the image's"
            check.add(name, "affine-mismatch", ERROR, message, "export the mask with the geometry of the image")
            return
    if image.affine is None:
        return
    # By the image's affine for both: they share one grid, and the mask's own header may be without one.
    grey, gland = _lps(image), _lps(replace(label, array=label.array > 0, affine=image.affine)).array
    if not 0 < gland.mean() <= _MOSTLY:
        return
    _check_place(check, name, gland)
    if check.thumbnail is None or grey.affine is None:
        return
    check.flips = flip_evidence(grey.array, gland, grey.affine)
    if int(gland.any(axis=(0, 1)).sum()) < _UPSIDE_DOWN_SLICES:
        return
    # Turning front to back also reverses the lean along the slices, so only the stronger sign is reported.
    axis = min(FLIP_WORDS, key=lambda name: check.flips[name])
    if check.flips[axis] < _UPSIDE_DOWN[axis]:
        message = (
            f"the mask would fit the image better if turned {FLIP_WORDS[axis]} (evidence {-check.flips[axis]:.1f})"
        )
        check.add(name, "upside-down", WARNING, message, "look at the picture of the case; prepare has flip_labels")


def _check_place(check: CaseCheck, name: str, gland: NDArray) -> None:
    for axis, words in ((0, "right to left"), (1, "front to back")):
        others = tuple(a for a in range(3) if a != axis)
        counts = gland.sum(axis=others)
        centre = float((counts * np.arange(len(counts))).sum() / counts.sum() / max(1, len(counts) - 1))
        if abs(centre - 0.5) > _OFF_CENTRE:
            message = f"the centre of the mask lies at {centre:.0%} of the image's width from {words}"
            check.add(name, "off-centre", WARNING, message, "look at the picture of the case")
            return
