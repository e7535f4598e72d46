# SPDX-License-Identifier: Apache-2.0
"""Write a mask as a DICOM segmentation that belongs to the study of its series."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import akd_monai
from akd_monai.deploy._dicom_files import quiet_pydicom, without_person
from akd_monai.deploy._model import Model
from akd_monai.deploy._segment_codes import Code, SegmentCode
from akd_monai.errors import InputError
from akd_monai.files import atomic_write

__all__ = ["DESCRIPTION", "write_segmentation"]

# a value of LO has at most 64 characters
DESCRIPTION = "akd_monai mask: research only, not for clinical use"
_LONGEST = 64
_QUOTED = re.compile(r"['\"]([^'\"]*)['\"]")
_SERIES = 1000
# what a SEG must have, and a series without names lacks
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


@quiet_pydicom()
def write_segmentation(
    path: Path, mask: NDArray[np.uint8], headers: Sequence[Any], model: Model, codes: Mapping[int, SegmentCode]
) -> Path:
    """Write a BINARY segmentation, a segment for each class; frames without a marked pixel are left out.

    Args:
        path: the file.
        mask: class numbers ``[column, row, slice]``, not empty.
        headers: of the slices, in the order of the third axis.
        model: what made the mask.
        codes: what the classes are.

    Raises:
        InputError: if the headers lack what places a segmentation in its study.
    """
    _check_headers(headers)
    frames = mask.transpose(2, 1, 0)
    try:
        data = _encoded(frames, headers, model, codes)
    except Exception as error:  # a header that breaks the standard ends in errors of many kinds
        words = without_person(_QUOTED.sub(_shown, str(error)), headers[0])
        what = f"the header of its series allows no DICOM SEG ({type(error).__name__}: {words})"
        raise InputError(what, remedy="write --output_type nifti, or correct the header", code="no-seg") from None
    return atomic_write(path, data)


def _shown(quoted: re.Match[str]) -> str:
    """Return a quoted word of a library's message if it names a field, and no value of one."""
    from pydicom.datadict import tag_for_keyword

    return quoted[0] if tag_for_keyword(quoted[1]) is not None else "'***'"


def _check_headers(headers: Sequence[Any]) -> None:
    for name in _NEEDED:
        if not all(header.get(name) for header in headers):
            what = f"has no {name}, by which a DICOM SEG refers to it"
            raise InputError(what, remedy="write --output_type nifti, or export the series again", code="no-seg")
    for header in headers:
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)


def _encoded(
    frames: NDArray[np.uint8], headers: Sequence[Any], model: Model, codes: Mapping[int, SegmentCode]
) -> bytes:
    from highdicom import UID
    from highdicom.seg import Segmentation, SegmentationTypeValues

    facts = model.recipe.facts
    segmentation = Segmentation(
        source_images=list(headers),
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=list(_segments(model, codes)),
        series_instance_uid=UID(),
        series_number=_SERIES + int(headers[0].get("SeriesNumber") or 0),
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="akd_monai",
        manufacturer_model_name=model.name[:_LONGEST],
        software_versions=akd_monai.__version__,
        device_serial_number=str(facts.get("weights_sha256") or "unknown")[:_LONGEST],
        series_description=DESCRIPTION,
        content_label="SEGMENTATION",
        content_description="not for clinical use",
    )
    stream = io.BytesIO()
    segmentation.save_as(stream)
    return stream.getvalue()


def _segments(model: Model, codes: Mapping[int, SegmentCode]) -> Iterator[Any]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes as known

    facts = model.recipe.facts
    algorithm = AlgorithmIdentificationSequence(
        name=f"akd_monai {model.name}"[:_LONGEST],
        family=known.DCM.ArtificialIntelligence,
        version=str(facts.get("bundle_version") or "unknown")[:_LONGEST],
        parameters={"weights_sha256": str(facts.get("weights_sha256") or "unknown"), "engine": model.network.engine},
    )
    for number, name in model.recipe.labels.items():
        yield SegmentDescription(
            segment_number=number,
            segment_label=name[:_LONGEST],
            segmented_property_category=_concept(codes[number].category),
            segmented_property_type=_concept(codes[number].type),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )


def _concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)
