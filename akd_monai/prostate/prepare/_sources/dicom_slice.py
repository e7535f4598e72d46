# SPDX-License-Identifier: Apache-2.0
"""Read one DICOM file: pixels, geometry and scanner. Nothing in the header that tells of a person is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data._dicom_lengths import check_lengths
from akd_monai.data._dicom_stack import check_frames, check_grey, is_located, normal_of
from akd_monai.prostate.prepare._sources.base import CaseError, case_errors
from akd_monai.prostate.prepare._sources.itk_files import itk_image, last_line
from akd_monai.prostate.prepare._sources.scanner import known_coil, known_maker, known_model

__all__ = ["Slice", "dicom_files", "is_dicom", "read_slice"]

_SUFFIXES = (".dcm", ".ima")
_SCANNER_TEXTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "manufacturer": ("0008|0070", known_maker),
    "model": ("0008|1090", known_model),
    "receive_coil": ("0018|1250", known_coil),
}
_FIELD_STRENGTH = "0018|0087"
_PHOTOMETRIC = "0028|0004"
_CONVERT = "convert it to NIfTI (for instance with dcm2niix) and use the source 'folder'"
# Tesla; a number beyond that is none of a scanner for people, and might be a date.
_STRONGEST_T = 12.0


@dataclass(frozen=True)
class Slice:
    """One DICOM file with the header fields that matter here; geometry the file does not give is NaN.

    Args:
        path: the file.
        pixels: ``[row, column]``, rescaled.
        series_uid: SeriesInstanceUID.
        description: SeriesDescription.
        modality: ``"MR"`` for MRI.
        instance: InstanceNumber.
        position: centre of the first pixel in mm, LPS.
        orientation: direction of a row (3 numbers) and of a column (3), LPS.
        pixel_spacing: mm between rows, mm between columns.
        thickness: SliceThickness in mm.
        scanner: maker, model, field strength and coil, where the header names them; ``other`` for unknown texts.
    """

    path: Path
    pixels: NDArray[Any]
    series_uid: str
    description: str
    modality: str
    instance: int
    position: NDArray[Any]
    orientation: NDArray[Any]
    pixel_spacing: NDArray[Any]
    thickness: float
    scanner: dict[str, str | float]

    @property
    def normal(self) -> NDArray[Any]:
        """Unit vector of the slice normal, LPS."""
        return normal_of(self)

    @property
    def located(self) -> bool:
        """Whether position, direction and pixel spacing are all there and describe a plane."""
        return is_located(self)


def dicom_files(folder: Path) -> list[Path]:
    """Return all DICOM files below ``folder``, by suffix or by the letters at byte 128; hidden files are left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and name != "DICOMDIR" and is_dicom(path):
                found.append(path)
    return found


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its suffix or by the letters at byte 128."""
    return path.suffix.lower() in _SUFFIXES or _has_magic(path)


def _has_magic(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        # What cannot be opened is named among the files that were not used.
        return False


def read_slice(path: Path) -> Slice:
    """Read one DICOM file, header and pixels (rescale slope and intercept applied).

    Raises:
        CaseError: for a truncated or damaged file, several frames, colours, or inverted grey values.
    """
    import itk

    with case_errors():
        check_lengths(path)
    io = itk.GDCMImageIO.New()
    io.SetLoadPrivateTags(False)
    io.SetFileName(str(path))
    if not io.CanReadFile(str(path)):
        raise _unreadable(path, "is no readable DICOM image")
    try:
        io.ReadImageInformation()
        tags = _tags(io)
        with case_errors():
            check_grey(io.GetNumberOfComponents(), tags.get(_PHOTOMETRIC, ""), path.name)
        pixels = itk.array_from_image(itk_image(io, path))
    except (RuntimeError, TypeError) as error:
        raise _unreadable(path, f"cannot be read ({last_line(error, path)})") from None
    with case_errors():
        check_frames(pixels.shape[0] if pixels.ndim == 3 else 1, path.name, remedy=_CONVERT)
    return _slice(path, pixels.reshape(pixels.shape[-2:]), tags)


def _unreadable(path: Path, what: str) -> CaseError:
    remedy = "the file is truncated or damaged: copy it again"
    return CaseError(what, remedy=remedy, where=path.name, code="unreadable")


def _tags(io: Any) -> dict[str, str]:
    dictionary = io.GetMetaDataDictionary()
    return {key: str(dictionary[key]).strip(" \0") for key in dictionary.GetKeys() if "|" in key}


def _slice(path: Path, pixels: NDArray[Any], tags: dict[str, str]) -> Slice:
    return Slice(
        path=path,
        pixels=pixels,
        series_uid=tags.get("0020|000e", ""),
        description=tags.get("0008|103e", ""),
        modality=tags.get("0008|0060", ""),
        instance=int(_number(tags.get("0020|0013", ""))),
        position=_numbers(tags.get("0020|0032", ""), 3),
        orientation=_numbers(tags.get("0020|0037", ""), 6),
        pixel_spacing=_numbers(tags.get("0028|0030", ""), 2),
        thickness=_number(tags.get("0018|0050", "")),
        scanner=_scanner(tags),
    )


def _scanner(tags: dict[str, str]) -> dict[str, str | float]:
    scanner: dict[str, str | float] = {}
    for name, (tag, known) in _SCANNER_TEXTS.items():
        if tags.get(tag):
            scanner[name] = known(tags[tag])
    strength = _number(tags.get(_FIELD_STRENGTH, ""))
    if strength > 100:
        # Some makers write gauss.
        strength /= 10000
    if 0 < strength <= _STRONGEST_T:
        scanner["field_strength_t"] = strength
    return scanner


def _number(value: str) -> float:
    """Return the number of a DICOM decimal string, 0 where it holds something else."""
    return float(np.nan_to_num(_numbers(value, 1)[0]))


def _numbers(value: str, count: int) -> NDArray[Any]:
    """Return ``count`` numbers of a DICOM decimal string, NaN where it holds something else."""
    try:
        numbers = np.array([float(part) for part in value.split("\\")])
    except ValueError:
        numbers = np.empty(0)
    return numbers if len(numbers) == count else np.full(count, np.nan)
