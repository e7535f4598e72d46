# SPDX-License-Identifier: Apache-2.0
"""Checks of one case: image and mask each by itself, and both together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.gate import MOST_FOREGROUND, check_grids, rounded
from akd_monai.data.nifti import FileError
from akd_monai.prostate.flip_evidence import flip_evidence
from akd_monai.prostate.verify._check import FLIP_WORDS, CaseCheck, CaseFiles
from akd_monai.prostate.verify._file import CheckedFile, check_file, turned_to_lps
from akd_monai.prostate.verify._image import check_image
from akd_monai.prostate.verify._mask import check_mask

__all__ = ["check_case"]

# Distance of the mask's centre from the middle of the image, as a share of the image's width.
_OFF_CENTRE = 0.25
# Log-likelihood ratios of flip_evidence below which a single mask is reported.
_UPSIDE_DOWN = {"P": -3.0, "S": -4.0}
# In glands of fewer slices the signs are too weak for one case; they still count towards those of its site.
_UPSIDE_DOWN_SLICES = 5


def check_case(files: CaseFiles) -> CaseCheck:
    """Check one case; never raises for a fault of the data."""
    check = CaseCheck(files.case, files.site)
    image = _read(files, check, "image", files.image)
    label = _read(files, check, "label", files.label)
    _check_complete(files, check)
    if image is not None and files.image is not None:
        check_image(check, files.image, image, files.synthetic)
    if label is not None and files.label is not None:
        check_mask(check, files.label, label, files.label_values)
        if image is not None:
            _check_pair(check, files.label, image, label)
    return check


def _read(files: CaseFiles, check: CaseCheck, kind: str, name: str | None) -> CheckedFile | None:
    if name is None:
        return None
    return check_file(check, files.root / name, name, files.sha256.get(kind))


def _check_complete(files: CaseFiles, check: CaseCheck) -> None:
    if files.image is None:
        check.error(files.label, "no-image", "a mask without image", "add the image or remove the mask")
    elif files.label is None and not files.unlabelled:
        remedy = "add the mask, or move the image below 'unlabelled'"
        check.error(files.image, "no-mask", "an image without mask", remedy)


def _check_pair(check: CaseCheck, name: str, image: CheckedFile, label: CheckedFile) -> None:
    if not _on_one_grid(check, name, image, label) or image.affine is None:
        return
    # By the image's affine for both: they share one grid, and the mask's own header may be without one.
    grey = turned_to_lps(image)
    gland = turned_to_lps(replace(label, array=rounded(label.array) > 0, affine=image.affine)).array
    if not 0 < gland.mean() <= MOST_FOREGROUND:
        return
    _check_place(check, name, gland)
    # An image without thumbnail holds nothing to compare an outline with.
    if check.thumbnail is not None:
        _check_flips(check, name, grey, gland)


def _on_one_grid(check: CaseCheck, name: str, image: CheckedFile, label: CheckedFile) -> bool:
    # without an affine, which is a finding of its own, only the shapes can be compared
    known = image.affine is not None and label.affine is not None
    grids = [(file.array.shape, file.affine if known else np.eye(4)) for file in (image, label)]
    try:
        check_grids(*grids)  # type: ignore[arg-type] # the affines are no longer None
    except FileError as problem:
        check.error(name, problem.code, problem.what, problem.remedy)
        return False
    return True


def _check_place(check: CaseCheck, name: str, gland: NDArray[Any]) -> None:
    for axis, words in ((0, "right to left"), (1, "front to back")):
        others = (1 - axis, 2)
        counts = gland.sum(axis=others)
        positions = np.arange(len(counts))
        centre = float((counts * positions).sum() / counts.sum() / max(1, len(counts) - 1))
        if abs(centre - 0.5) > _OFF_CENTRE:
            message = f"the centre of the mask lies at {centre:.0%} of the image's width from {words}"
            check.warning(name, "off-centre", message, "check the picture of the case")
            return


def _check_flips(check: CaseCheck, name: str, grey: CheckedFile, gland: NDArray[Any]) -> None:
    if grey.affine is None:
        return
    check.flips = flip_evidence(grey.array, gland, grey.affine)
    if int(gland.any(axis=(0, 1)).sum()) < _UPSIDE_DOWN_SLICES:
        return
    # Turning front to back also reverses the lean along the slices, so only the stronger sign is reported.
    axis = min(FLIP_WORDS, key=lambda name: check.flips[name])
    evidence = check.flips[axis]
    if evidence < _UPSIDE_DOWN[axis]:
        message = f"the mask would fit the image better if turned {FLIP_WORDS[axis]} (evidence {-evidence:.1f})"
        check.warning(name, "upside-down", message, "check the picture of the case; prepare has --flip_labels")
