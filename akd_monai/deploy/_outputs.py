# SPDX-License-Identifier: Apache-2.0
"""The files that are written for one image: mask, DICOM SEG and preview."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.placement import nifti_like, write_mask
from akd_monai.deploy._dicom_files import require_pydicom
from akd_monai.deploy._dicom_seg import write_segmentation
from akd_monai.deploy._inputs import Loaded, Source, VolumeSource
from akd_monai.deploy._model import Model
from akd_monai.deploy._preview import write_preview
from akd_monai.deploy._segment_codes import SegmentCode
from akd_monai.errors import InputError, check_choice

__all__ = ["OutputType", "Written", "check_output_types", "earlier_files", "write_outputs"]

OutputType = Literal["nifti", "dicom_seg"]

_MASK = "_pred.nii.gz"
_SEG = "_pred.seg.dcm"
_PREVIEW = "_preview.png"


@dataclass(frozen=True)
class Written:
    """Files of one image; None for what was not written.

    Args:
        mask: NIfTI.
        dicom_seg: DICOM SEG.
        preview: PNG.
        warnings: why an output is missing.
    """

    mask: Path | None = None
    dicom_seg: Path | None = None
    preview: Path | None = None
    warnings: tuple[str, ...] = ()


def check_output_types(types: object, sources: list[Source]) -> tuple[str, ...]:
    """Return the kinds of output, without repetition.

    Raises:
        InputError: for an unknown kind, none at all, or DICOM SEG of what is no DICOM.
    """
    given = list(types) if isinstance(types, (list, tuple)) else [types]
    for kind in given or [None]:
        check_choice("output_type", kind, get_args(OutputType))
    if "dicom_seg" in given:
        require_pydicom()
        others = [source for source in sources if isinstance(source, VolumeSource)]
        if others:
            what = f"output_type dicom_seg needs DICOM series, and {others[0].path.name} is none"
            raise InputError(what, remedy="write nifti, or give the series from which it was made", code="no-dicom")
    return tuple(dict.fromkeys(map(str, given)))


def earlier_files(mask: Path) -> list[Path]:
    """Return masks of an earlier run that exist.

    Args:
        mask: path of the NIfTI mask.
    """
    return [path for path in (mask, _beside(mask, _SEG)) if path.is_file()]


def write_outputs(
    mask_path: Path,
    mask: NDArray[np.uint8],
    source: Source,
    loaded: Loaded,
    model: Model,
    *,
    codes: Mapping[int, SegmentCode] | None,
    nifti: bool,
    preview: bool,
) -> Written:
    """Write what was asked for: if one file cannot be written, none of this image is left.

    Args:
        mask_path: path of the NIfTI mask; the names of the others are made from it.
        mask: class numbers ``[X, Y, Z]``.
        source: the image.
        loaded: the image in memory.
        model: what made the mask.
        codes: of the classes for a DICOM SEG; None for none.
        nifti: whether to write the NIfTI mask.
        preview: whether to write the preview.
    """
    affine = loaded.file.affine
    image = loaded.file.array if loaded.file.array.ndim == 3 else loaded.file.array[..., 0]
    seg = None
    warnings: list[str] = []
    if codes is not None:
        seg_path = _beside(mask_path, _SEG)
        if mask.any():
            seg = write_segmentation(seg_path, mask, loaded.headers, model, codes)
        else:
            warnings.extend(_without_seg(seg_path))
    written = picture = None
    try:
        if nifti:
            written = write_mask(mask_path, nifti_like(mask, affine, source.path))
        if preview:
            picture = write_preview(_beside(mask_path, _PREVIEW), image, mask, affine)
    except BaseException:
        for path in filter(None, (seg, written)):
            path.unlink(missing_ok=True)
        raise
    warnings.extend(_left(mask_path, {seg, written, picture}))
    return Written(written, seg, picture, tuple(warnings))


def _left(mask: Path, written: Collection[Path | None]) -> Iterator[str]:
    for path in (mask, _beside(mask, _SEG), _beside(mask, _PREVIEW)):
        if path.exists() and path not in written:
            yield f"{path.name} of an earlier run is still there: it does not belong to what was written now"


def _without_seg(path: Path) -> Iterator[str]:
    yield "no DICOM SEG was written, which cannot be empty"
    if path.exists():
        path.unlink()
        yield f"{path.name} of an earlier run was removed"


def _beside(mask: Path, ending: str) -> Path:
    # the names of masks differ, also where those of volumes do so in their suffix alone
    return mask.with_name(mask.name.removesuffix(_MASK) + ending)
