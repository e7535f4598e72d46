# SPDX-License-Identifier: Apache-2.0
"""Masks of volumes by an exported network, without PyTorch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.data._failures import Failure, described_failure, failures_error
from akd_monai.data._mask_places import MaskPlaces
from akd_monai.data.gate import image_warnings
from akd_monai.data.volume_file import VolumeFile
from akd_monai.deploy._engines import EngineName
from akd_monai.deploy._inputs import Inputs, Source
from akd_monai.deploy._model import Model, open_model
from akd_monai.deploy._outputs import OutputType, check_output_types, earlier_files, write_outputs
from akd_monai.deploy._pipeline import predict
from akd_monai.deploy._plane import other_plane
from akd_monai.deploy._segment_codes import SegmentCode, codes_of
from akd_monai.deploy._statistics import ClassFigures, mask_figures, mask_warnings
from akd_monai.errors import InputError
from akd_monai.files import as_path, write_json

__all__ = ["SegmentedVolume", "segment"]

logger = logging.getLogger(__name__)

_STATISTICS = "statistics.json"


@dataclass(frozen=True)
class SegmentedVolume:
    """An image and its mask.

    Args:
        image: the file that was given, or the folder of a DICOM series.
        mask: NIfTI file of class numbers, on the very grid of the image; None where it was not asked for.
        figures: for each class ``voxels``, ``volume_ml``, ``slices`` and ``largest_diameters_mm``.
        warnings: what is odd about the image or the mask.
        preview: a PNG file, where it was asked for.
        seconds: from reading to writing.
        dicom_seg: a DICOM SEG, where it was asked for and the mask is not empty.
    """

    image: Path
    mask: Path | None
    figures: dict[str, ClassFigures]
    warnings: tuple[str, ...]
    preview: Path | None
    seconds: float
    dicom_seg: Path | None = None

    def __str__(self) -> str:
        return f"{self.image.name}: {self.summary}"

    @property
    def summary(self) -> str:
        """Volume and slices of each class, and the seconds, in words."""
        found = [f"{name} {each['volume_ml']:.1f} ml in {each['slices']} slices" for name, each in self.figures.items()]
        return f"{', '.join(found)}, {self.seconds:.2f} s"


@dataclass(frozen=True)
class _Wanted:
    """What is written for each image.

    Args:
        nifti: the mask as NIfTI.
        codes: of the classes, where a DICOM SEG is written.
        preview: the picture.
    """

    nifti: bool
    codes: Mapping[int, SegmentCode] | None
    preview: bool


def segment(
    input: str | os.PathLike[str],  # noqa: A002 - the word of the command line
    output_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    bundles_dir: str | os.PathLike[str] = "bundles",
    engine: EngineName = "auto",
    threads: int | None = None,
    output_type: OutputType | Sequence[OutputType] = "nifti",
    series: str | int | None = None,
    segment_codes: str | os.PathLike[str] | None = None,
    statistics: bool = False,
    preview: bool = False,
    trust_bundle: bool = False,
) -> list[SegmentedVolume]:
    """Write a mask for each image, on the image's own grid, equal to that of the bundle's inference by MONAI.

    With OpenVINO or ONNX Runtime neither PyTorch nor MONAI is imported. Every image passes the checks of all other
    commands (:func:`~akd_monai.data.checked_volume.checked_volume`). One that cannot be segmented is named with the
    reason, and the others are done. The result is not for clinical use.

    DICOM is told by content, not by suffix, and its slices are ordered by position. Series that share a folder or a study
    are alternatives: the one is taken that is an image of the model's modality and no localiser; of several, ``series``
    must name one.

    Args:
        input: a NIfTI, NRRD or MetaImage file, the folder of a DICOM series, or a folder of any of these; masks and
            earlier predictions in it are left out by their names.
        output_dir: folder of the masks, ``<name>_pred.nii.gz``, in the sub-folders of their images; a series has the name
            of its folder.
        model: an ONNX file of ``export``, a bundle's folder, or the name of a bundle in ``bundles_dir``.
        bundles_dir: where bundles are looked up by name.
        engine: ``auto`` takes OpenVINO or ONNX Runtime, the first that is installed; ``torch`` runs a bundle that was not
            exported.
        threads: threads of the engine; as many as it chooses by default.
        output_type: ``nifti``, ``dicom_seg`` or both. A DICOM SEG, ``<name>_pred.seg.dcm``, carries name and ID of the
            patient, as it belongs to the study of its series; no other output does. One of an empty mask is not written.
        series: number or UID of the DICOM series to take where there are several.
        segment_codes: for ``dicom_seg``: a JSON file with the codes of classes that are not known here.
        statistics: write ``statistics.json``: volume in ml, largest diameters in mm, slices and warnings of each mask.
        preview: write ``<name>_preview.png`` beside each mask: slices with the outline of the mask.
        trust_bundle: for ``engine="torch"``: evaluate expressions in the bundle's ``network_def`` and import what it
            names; only for bundles whose author you trust.

    Returns:
        The masks that were written, volumes in the order of their names, then series.

    Raises:
        InputError: if there is no image or no model, if a series must be chosen, if masks cannot be written, or at the end
            if images failed.

    Example:
        >>> segment("no/such/volume.nii.gz", "masks", model="no/such/model.onnx")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: 'no/such/volume.nii.gz' does not exist; give a volume or a folder with -i.
    """
    output = as_path(output_dir, "output_dir")
    inputs = Inputs.below(as_path(input, "input"), output)
    opened = open_model(model, bundles_dir=bundles_dir, engine=engine, threads=threads, trust_bundle=trust_bundle)
    chosen = None if series is None else str(series).strip()
    sources = inputs.sources(chosen, str(opened.recipe.facts.get("modality") or ""))
    types = check_output_types(output_type, sources)
    if segment_codes is not None and "dicom_seg" not in types:
        what = "segment_codes are for a DICOM SEG, and none is written"
        raise InputError(what, remedy="add --output_type dicom_seg, or leave --segment_codes out")
    codes = codes_of(opened.recipe.labels, segment_codes) if "dicom_seg" in types else None
    places = MaskPlaces(output, volumes=[source.place for source in sources], root=inputs.root)
    places.check()
    logger.info("%s, %s", opened.name, opened.network.engine)
    wanted = _Wanted("nifti" in types, codes, preview)
    done: list[SegmentedVolume] = []
    failures: dict[int, Failure] = {}
    for number, source in enumerate(sources):
        result = _tried(source, places.path(source.place), opened, wanted)
        if isinstance(result, Failure):
            failures[number] = result
            logger.error("%d/%d not segmented: %s", number + 1, len(sources), result.message)
            continue
        done.append(result)
        logger.info("%d/%d %s: %s", number + 1, len(sources), _below(source.path, inputs.root), result.summary)
        if statistics:
            _write_statistics(output / _STATISTICS, opened, done, inputs.root)
    if failures:
        reasons = {number: failure.reason for number, failure in failures.items()}
        faults = [number for number, failure in failures.items() if failure.is_fault]
        raise failures_error([str(source.path) for source in sources], list(failures), reasons, faults)
    return done


def _tried(source: Source, mask_path: Path, model: Model, wanted: _Wanted) -> SegmentedVolume | Failure:
    """Return what was written, or why nothing was: whatever is wrong with one image, the others are done."""
    try:
        return _segmented(source, mask_path, model, wanted)
    except Exception as error:
        failure = described_failure(str(source.path), error)
        failure.message += _stale(mask_path)
        return failure


def _below(path: Path, root: Path) -> str:
    """Return a path as it is called in a batch: relative to the folder that was given."""
    name = path.name if path == root or not path.is_relative_to(root) else path.relative_to(root).as_posix()
    # a name may hold a line break
    return " ".join(name.splitlines())


def _stale(mask_path: Path) -> str:
    names = ", ".join(path.name for path in earlier_files(mask_path))
    return f" An earlier run's {names} is still there." if names else ""


def _segmented(source: Source, mask_path: Path, model: Model, wanted: _Wanted) -> SegmentedVolume:
    start = time.perf_counter()
    loaded = source.load(model.recipe)
    plane = other_plane(loaded.file.affine, model.recipe)
    if plane and loaded.headers:
        raise InputError(plane, where=str(source.path), remedy="give the series of that plane", code="orientation")
    mask = predict(loaded.file, model.recipe, model.network).mask
    written = write_outputs(
        mask_path, mask, source, loaded, model, codes=wanted.codes, nifti=wanted.nifti, preview=wanted.preview
    )
    of_image = (*loaded.warnings, *_image_warnings(loaded.file), *filter(None, [plane]))
    warnings = (*of_image, *mask_warnings(mask), *written.warnings)
    for warning in warnings:
        logger.warning("%s: %s", " ".join(str(source.path).splitlines()), warning)
    return SegmentedVolume(
        image=source.path,
        mask=written.mask,
        figures=mask_figures(mask, loaded.file.affine, model.recipe.labels),
        warnings=warnings,
        preview=written.preview,
        seconds=time.perf_counter() - start,
        dicom_seg=written.dicom_seg,
    )


def _image_warnings(file: VolumeFile) -> Iterator[str]:
    yield from file.warnings
    array = file.array[None] if file.array.ndim == 3 else file.array.transpose(3, 0, 1, 2)
    yield from image_warnings(array)


def _write_statistics(path: Path, model: Model, done: Sequence[SegmentedVolume], root: Path) -> None:
    volumes: dict[str, Any] = {}
    for each in done:
        file = each.mask or each.dicom_seg
        name = _below(each.image, root) if file is None else file.relative_to(path.parent).as_posix()
        volumes[name] = {"classes": each.figures, "warnings": list(each.warnings)}
    about = {
        "model": model.name,
        "weights_sha256": model.recipe.facts.get("weights_sha256"),
        "engine": model.network.engine,
    }
    write_json(path, {**about, "volumes": volumes})
