# SPDX-License-Identifier: Apache-2.0
"""DICOM series of a person who does not exist, written with pydicom from arrays."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

# what may stand in the DICOM SEG alone; the birth date also as it could be shown
PERSON = {
    "PatientName": "Secretname^Givenname",
    "PatientID": "ID4711SECRET",
    "PatientBirthDate": "19431224",
    "PatientSex": "M",
    "InstitutionName": "Hospital Of Secrets",
    "ReferringPhysicianName": "Doctorname^Anna",
    "AccessionNumber": "ACC0815",
    "StudyDate": "20260102",
    "StudyTime": "112233",
    "StudyID": "ST99",
}
# 12 degrees of tilt, and 20 degrees within the plane, as LPS
_TILT = np.deg2rad(12)
_TURN = np.deg2rad(20)
OBLIQUE = (
    *(np.cos(_TURN), np.sin(_TURN) * np.cos(_TILT), np.sin(_TURN) * np.sin(_TILT)),
    *(-np.sin(_TURN), np.cos(_TURN) * np.cos(_TILT), np.cos(_TURN) * np.sin(_TILT)),
)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SPACING = (0.8, 0.7, 3.0)
ORIGIN = (-11.0, -23.0, 5.0)
SHAPE = (24, 20, 6)


def grey(box=((6, 15), (5, 12), (1, 3)), shape=SHAPE) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a dark volume ``[column, row, slice]`` with a bright box, and where it is bright."""
    marked = np.zeros(shape, bool)
    marked[tuple(slice(*ends) for ends in box)] = True
    values = np.where(marked, 200, 10) + np.random.default_rng(0).integers(0, 5, shape)
    return values.astype(np.uint16), marked


def affine_of(orientation=OBLIQUE, spacing=SPACING, origin=ORIGIN) -> NDArray[Any]:
    """Return the RAS affine of a volume, worked out from the standard's formula (C.7.6.2.1.1) and not by the package."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lps = np.eye(4)
    lps[:3, 0] = row * spacing[0]
    lps[:3, 1] = column * spacing[1]
    lps[:3, 2] = np.cross(row, column) * spacing[2]
    lps[:3, 3] = origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def decimal(values) -> list[str]:
    return [f"{value:.10g}"[:16] for value in values]


def header(k: int, *, orientation, spacing, origin, uids, fields: dict[str, Any]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = MRImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = uids
    normal = np.cross(orientation[:3], orientation[3:])
    standard = {
        **PERSON,
        "Modality": "MR",
        "Manufacturer": "Synthetic",
        "SeriesDescription": "t2_tse_tra",
        "SeriesNumber": 3,
        "SeriesDate": "20260102",
        "SeriesTime": "112233",
        "PositionReferenceIndicator": "",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"],
        "ScanningSequence": "SE",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "EchoTime": 90,
        "RepetitionTime": 4000,
        "EchoTrainLength": 1,
        "SliceThickness": 2,
        "InstanceNumber": k + 1,
        "ImageOrientationPatient": decimal(orientation),
        "ImagePositionPatient": decimal(np.array(origin) + k * spacing[2] * normal),
        "PixelSpacing": decimal((spacing[1], spacing[0])),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    for name, value in {**standard, **fields}.items():
        if value is None:
            data.pop(name, None)
        else:
            setattr(data, name, value)
    return data


def write_series(
    folder: Path,
    volume: NDArray[Any],
    *,
    orientation=OBLIQUE,
    spacing=SPACING,
    origin=ORIGIN,
    study: str | None = None,
    prefix: str = "IM",
    suffix: str = "",
    **fields: Any,
) -> list[Path]:
    """Write ``volume[column, row, slice]`` as one file a slice, with names in a shuffled order; return them by slice.

    Args:
        folder: where.
        volume: stored values.
        orientation: of rows and columns, LPS.
        spacing: mm between columns, rows and slices.
        origin: of the first voxel, LPS.
        study: StudyInstanceUID.
        prefix: of the files' names.
        suffix: of the files' names.
        fields: of the header, in place of the standard ones; None removes one, a function is called with the number of the
            slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uids = (study or generate_uid(), generate_uid(), generate_uid())
    count = volume.shape[2]
    numbers = random.Random(1).sample(range(count), count)
    paths = []
    for k in range(count):
        own = {name: value(k) if callable(value) else value for name, value in fields.items()}
        data = header(k, orientation=orientation, spacing=spacing, origin=origin, uids=uids, fields=own)
        pixels = volume[:, :, k].T
        data.Rows, data.Columns = pixels.shape
        if "PixelData" not in own:
            data.PixelData = np.ascontiguousarray(pixels).tobytes()
        path = folder / f"{prefix}{numbers[k]:03d}{suffix}"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_nifti(path: Path, volume: NDArray[Any], affine: NDArray[Any] | None = None) -> Path:
    """Write the same volume as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume.astype(np.int16), affine_of() if affine is None else affine), path)
    return path
