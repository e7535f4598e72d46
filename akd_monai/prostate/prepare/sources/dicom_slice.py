# SPDX-License-Identifier: Apache-2.0
"""Read one DICOM file: pixels, geometry and scanner. Nothing in the header that tells of a person is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.prostate.prepare.sources.base import CaseError
from akd_monai.prostate.prepare.sources.files import itk_image, last_line

SCANNER_TAGS = {
    "manufacturer": "0008|0070",
    "model": "0008|1090",
    "field_strength_t": "0018|0087",
    "receive_coil": "0018|1250",
}


@dataclass(frozen=True)
class Slice:
    """One DICOM file with the header fields that matter here; geometry the file does not give is NaN.

    Args:
        pixels: ``[row, column]``, rescaled.
        position: centre of the first pixel in mm, LPS.
        orientation: direction of a row (3 numbers) and of a column (3), LPS.
        pixel_spacing: mm between rows, mm between columns.
        thickness: SliceThickness in mm.
    """

    path: Path
    pixels: NDArray
    series_uid: str
    description: str
    modality: str
    instance: int
    position: NDArray
    orientation: NDArray
    pixel_spacing: NDArray
    thickness: float
    scanner: dict[str, str | float]

    @property
    def normal(self) -> NDArray:
        """Unit vector of the slice normal, LPS."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def located(self) -> bool:
        """Whether position, direction and pixel spacing are all there and describe a plane."""
        numbers = np.concatenate([self.position, self.orientation, self.pixel_spacing])
        return bool(
            np.isfinite(numbers).all() and abs(np.linalg.norm(self.normal) - 1) < 1e-2 and self.pixel_spacing.min() > 0
        )


def dicom_files(folder: Path) -> list[Path]:
    """Return all DICOM files below ``folder``, by suffix or by the letters at byte 128; hidden files are left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith(".") and name != "DICOMDIR")
        found += [path for path in paths if path.suffix.lower() in (".dcm", ".ima") or _has_magic(path)]
    return found


def _has_magic(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_slice(path: Path) -> Slice:
    """Read one DICOM file, header and pixels (rescale slope and intercept applied).

    Raises:
        CaseError: for a truncated or damaged file, several frames, or colours.
    """
    import itk

    damaged = "the file is truncated or damaged: copy it again"
    io = itk.GDCMImageIO.New()
    io.SetLoadPrivateTags(False)
    io.SetFileName(str(path))
    if not io.CanReadFile(str(path)):
        raise CaseError("is no readable DICOM image", remedy=damaged, where=path.name, code="unreadable")
    try:
        io.ReadImageInformation()
        if io.GetNumberOfComponents() != 1:
            remedy = "give the original slices, no screenshots"
            raise CaseError("holds colours, not grey values", remedy=remedy, where=path.name, code="voxel-type")
        pixels = itk.array_from_image(itk_image(io, path))
    except (RuntimeError, TypeError) as error:
        reason = f"cannot be read ({last_line(error, path)})"
        raise CaseError(reason, remedy=damaged, where=path.name, code="unreadable") from None
    if pixels.ndim == 3 and pixels.shape[0] != 1:
        remedy = "convert it to NIfTI (for instance with dcm2niix) and use the source 'folder'"
        raise CaseError(f"holds {pixels.shape[0]} frames in one file", remedy=remedy, where=path.name, code="frames")
    return _slice(path, pixels.reshape(pixels.shape[-2:]), _tags(io))


def _tags(io: Any) -> dict[str, str]:
    dictionary = io.GetMetaDataDictionary()
    return {key: str(dictionary[key]).strip(" \0") for key in dictionary.GetKeys() if "|" in key}


def _slice(path: Path, pixels: NDArray, tags: dict[str, str]) -> Slice:
    scanner: dict[str, str | float] = {name: tags[tag] for name, tag in SCANNER_TAGS.items() if tags.get(tag)}
    strength = _numbers(str(scanner.pop("field_strength_t", "")), 1)[0]
    if strength > 0:
        # Some makers write gauss.
        scanner["field_strength_t"] = float(strength / 10000 if strength > 100 else strength)
    return Slice(
        path=path,
        pixels=pixels,
        series_uid=tags.get("0020|000e", ""),
        description=tags.get("0008|103e", ""),
        modality=tags.get("0008|0060", ""),
        instance=int(np.nan_to_num(_numbers(tags.get("0020|0013", ""), 1)[0])),
        position=_numbers(tags.get("0020|0032", ""), 3),
        orientation=_numbers(tags.get("0020|0037", ""), 6),
        pixel_spacing=_numbers(tags.get("0028|0030", ""), 2),
        thickness=float(np.nan_to_num(_numbers(tags.get("0018|0050", ""), 1)[0])),
        scanner=scanner,
    )


def _numbers(text: str, count: int) -> NDArray:
    """Return ``count`` numbers of a DICOM decimal string, NaN where it holds something else."""
    try:
        values = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        values = np.empty(0)
    return values if len(values) == count else np.full(count, np.nan)
