# SPDX-License-Identifier: Apache-2.0
"""Read the slices of a DICOM series with pydicom and stack them; the checks are those of all other commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data._dicom_lengths import check_lengths
from akd_monai.data._dicom_stack import check_frames, check_grey, is_located, stack_of, stacked_pixels
from akd_monai.data._streams import DOWNLOAD_AGAIN, FileError
from akd_monai.data.gate import check_voxels
from akd_monai.data.geometry import affine_problem
from akd_monai.data.volume_file import VolumeFile
from akd_monai.deploy._dicom_files import Series, quiet_pydicom

__all__ = ["read_series"]

_CONVERT = "convert it to NIfTI (for instance with dcm2niix)"
_DECOMPRESS = "install pylibjpeg and its plug-ins, or decompress it (for instance with gdcmconv --raw)"
# what may differ from image to image of one place
_ACQUISITION = (
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "AcquisitionNumber",
    "ImageType",
)


@dataclass(frozen=True)
class _Slice:
    """One file; geometry that it does not give is NaN."""

    path: Path
    header: Any
    pixels: NDArray[Any]
    position: NDArray[Any]
    orientation: NDArray[Any]
    pixel_spacing: NDArray[Any]
    thickness: float


@quiet_pydicom()
def read_series(series: Series, name: str) -> tuple[VolumeFile, tuple[Any, ...]]:
    """Return a series as a volume, and the headers of its slices in the order of the third axis.

    Args:
        series: the files.
        name: what messages call it.

    Raises:
        FileError: if a file cannot be read, or the slices make no volume.
    """
    for path, fault in series.damaged:
        what = f"{path.name} {fault}, so that a slice may be missing"
        raise FileError(what, where=name, remedy="copy it again, or move it elsewhere", code="unreadable")
    slices = [_read(path, name) for path in series.files]
    _check_one_acquisition(slices, name)
    stack = stack_of(slices, name)
    array = stacked_pixels(slices, stack.order)
    problem = affine_problem(stack.affine)
    if problem:
        raise FileError(f"its affine {problem}", where=name, remedy="export the series again", code="affine-invalid")
    try:
        check_voxels(array)
    except FileError as error:
        raise FileError(error.what, where=name, remedy=error.remedy, code=error.code) from None
    ordered = [slices[number] for number in stack.order]
    warnings = (*stack.warnings, *_warnings(series, ordered[0].header))
    file = VolumeFile(array, stack.affine, tuple(one.path for one in ordered), warnings)
    return file, tuple(one.header for one in ordered)


def _warnings(series: Series, header: Any) -> Iterator[str]:
    if "DERIVED" in series.image_type:
        yield "was computed from other images (ImageType DERIVED): is it the right series?"
    if str(header.get("LossyImageCompression") or "") == "01":
        yield "was compressed with loss"


def _read(path: Path, name: str) -> _Slice:
    import pydicom

    where = f"{name}/{path.name}"
    try:
        check_lengths(path)
        header = pydicom.dcmread(path, force=True)
    except FileError as error:
        raise FileError(error.what, where=where, remedy=error.remedy, code=error.code) from None
    except Exception as error:  # a damaged header ends in errors of many kinds
        raise _unreadable(error, where) from None
    _check_kind(header, where)
    pixels = _pixels(header, where)
    # what is written later needs the header alone
    del header.PixelData
    return _Slice(
        path=path,
        header=header,
        pixels=pixels,
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(header, "PixelSpacing", 2),
        thickness=float(np.nan_to_num(_numbers(header, "SliceThickness", 1)[0])),
    )


def _unreadable(error: Exception, where: str) -> FileError:
    # the message of the library may quote the header
    what = f"is truncated or damaged: it cannot be read ({type(error).__name__})"
    return FileError(what, remedy=DOWNLOAD_AGAIN, where=where, code="unreadable")


def _check_kind(header: Any, where: str) -> None:
    if "PixelData" not in header:
        raise FileError("holds no pixels of an image", where=where, remedy=DOWNLOAD_AGAIN, code="unreadable")
    kind = getattr(header.get("SOPClassUID"), "name", "")
    frames = _count(header, "NumberOfFrames")
    if "Enhanced" in kind:
        what = f"is one file of several frames ({kind}, {frames} frames), which is not read"
        raise FileError(what, where=where, remedy=_CONVERT, code="frames")
    check_frames(frames, where, remedy=_CONVERT)
    check_grey(_count(header, "SamplesPerPixel"), str(header.get("PhotometricInterpretation") or ""), where)
    if "ModalityLUTSequence" in header:
        raise FileError("has a modality look-up table", where=where, remedy=_CONVERT, code="voxel-type")


def _count(header: Any, name: str) -> int:
    return int(np.nan_to_num(_numbers(header, name, 1)[0])) or 1


def _pixels(header: Any, where: str) -> NDArray[Any]:
    """Return ``[row, column]``, rescaled."""
    _check_decoder(header, where)
    try:
        # without the overlays that may be kept in bits beside those of the pixels
        stored = np.asarray(header.pixel_array)
    except Exception as error:  # each decoder has errors of its own
        raise _unreadable(error, where) from None
    slope = _factor(header, "RescaleSlope", 1.0, where)
    intercept = _factor(header, "RescaleIntercept", 0.0, where)
    if slope == 0:
        raise FileError("has a RescaleSlope of 0", where=where, remedy="export the series again", code="scaling")
    return stored if (slope, intercept) == (1.0, 0.0) else stored * slope + intercept


def _factor(header: Any, name: str, default: float, where: str) -> float:
    if header.get(name) is None:
        return default
    value = float(_numbers(header, name, 1)[0])
    if not np.isfinite(value):
        raise FileError(f"has no number as {name}", where=where, remedy="export the series again", code="scaling")
    return value


def _check_decoder(header: Any, where: str) -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        # a file that begins with its first element says no more than pydicom found out
        is_implicit = header.original_encoding[0]
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        return
    try:
        is_readable = not syntax.is_compressed or get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        is_readable = False
    if not is_readable:
        what = f"is compressed ({syntax.name}), and no decoder for that is installed"
        raise FileError(what, where=where, remedy=_DECOMPRESS, code="compressed")


def _check_one_acquisition(slices: Sequence[_Slice], name: str) -> None:
    """Refuse several images of one place by the name of what differs; the geometry alone would speak of copies."""
    places: dict[tuple[float, ...], list[_Slice]] = defaultdict(list)
    for one in filter(is_located, slices):
        places[tuple(np.round(one.position, 2))].append(one)
    for same in places.values():
        for attribute in _ACQUISITION:
            values = {str(one.header.get(attribute)) for one in same}
            if len(values) > 1:
                what = f"holds {len(same)} images of one place, which differ in {attribute}"
                remedy = "export those that the network was trained on as a series of their own"
                raise FileError(what, where=name, remedy=remedy, code="several-acquisitions")


def _numbers(header: Any, name: str, count: int) -> NDArray[Any]:
    """Return ``count`` numbers of a field, NaN where it holds something else."""
    try:
        numbers = np.atleast_1d(np.array(header.get(name), dtype=float))
    except (TypeError, ValueError):
        numbers = np.empty(0)
    return numbers if numbers.shape == (count,) else np.full(count, np.nan)
