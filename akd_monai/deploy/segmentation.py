# SPDX-License-Identifier: Apache-2.0
"""Masks of volumes by an exported network, without PyTorch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.data._failures import Failure, described_failure, failures_error
from akd_monai.data._mask_places import MaskPlaces
from akd_monai.data.checked_volume import checked_volume
from akd_monai.data.gate import image_warnings
from akd_monai.data.placement import nifti_like, write_mask
from akd_monai.data.volume_file import VolumeFile
from akd_monai.data.volumes import input_volumes, require_volumes
from akd_monai.deploy._engines import EngineName
from akd_monai.deploy._model import Model, open_model
from akd_monai.deploy._pipeline import predict
from akd_monai.deploy._preview import write_preview
from akd_monai.deploy._statistics import ClassFigures, mask_figures, mask_warnings
from akd_monai.files import as_path, write_json

__all__ = ["SegmentedVolume", "segment"]

logger = logging.getLogger(__name__)

_STATISTICS = "statistics.json"
_MASK = "_pred.nii.gz"


@dataclass(frozen=True)
class SegmentedVolume:
    """A volume and its mask.

    Args:
        image: the file that was given.
        mask: NIfTI file of class numbers, on the very grid of the image.
        figures: for each class ``voxels``, ``volume_ml``, ``slices`` and ``largest_diameters_mm``.
        warnings: what is odd about the image or the mask.
        preview: a PNG file, where it was asked for.
        seconds: from reading to writing.
    """

    image: Path
    mask: Path
    figures: dict[str, ClassFigures]
    warnings: tuple[str, ...]
    preview: Path | None
    seconds: float

    def __str__(self) -> str:
        found = [f"{name} {each['volume_ml']:.1f} ml in {each['slices']} slices" for name, each in self.figures.items()]
        return f"{self.image.name}: {', '.join(found)}, {self.seconds:.2f} s"


def segment(
    input: str | os.PathLike[str],  # noqa: A002 - the word of the command line
    output_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    bundles_dir: str | os.PathLike[str] = "bundles",
    engine: EngineName = "auto",
    threads: int | None = None,
    statistics: bool = False,
    preview: bool = False,
    trust_bundle: bool = False,
) -> list[SegmentedVolume]:
    """Write a mask for each volume, on the volume's own grid, equal to that of the bundle's inference by MONAI.

    With OpenVINO or ONNX Runtime neither PyTorch nor MONAI is imported. Every volume passes the checks of all other
    commands (:func:`~akd_monai.data.checked_volume.checked_volume`). A volume that cannot be segmented is named with the
    reason, and the others are done. The result is not for clinical use.

    Args:
        input: a NIfTI, NRRD or MetaImage file, or a folder of them; masks and earlier predictions in it are left out by
            their names.
        output_dir: folder of the masks, ``<name>_pred.nii.gz``, in the sub-folders of their volumes.
        model: an ONNX file of ``export``, a bundle's folder, or the name of a bundle in ``bundles_dir``.
        bundles_dir: where bundles are looked up by name.
        engine: ``auto`` takes OpenVINO or ONNX Runtime, the first that is installed; ``torch`` runs a bundle that was not
            exported.
        threads: threads of the engine; as many as it chooses by default.
        statistics: write ``statistics.json``: volume in ml, largest diameters in mm, slices and warnings of each mask.
        preview: write ``<name>_preview.png`` beside each mask: slices with the outline of the mask.
        trust_bundle: for ``engine="torch"``: evaluate expressions in the bundle's ``network_def`` and import what it
            names; only for bundles whose author you trust.

    Returns:
        What was written, in the order of the files' names.

    Raises:
        InputError: if there is no volume or no model, if masks cannot be written, or at the end if volumes failed.

    Example:
        >>> segment("no/such/volume.nii.gz", "masks", model="no/such/model.onnx")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: 'no/such/volume.nii.gz' does not exist; give a volume or a folder with -i.
    """
    root = as_path(input, "input")
    output = as_path(output_dir, "output_dir")
    volumes = input_volumes(root, output_dir=output)
    require_volumes(volumes, root, output_dir=output, flag="-i")
    opened = open_model(model, bundles_dir=bundles_dir, engine=engine, threads=threads, trust_bundle=trust_bundle)
    places = MaskPlaces(output, volumes=volumes, root=root)
    places.check()
    logger.info("%s, %s", opened.name, opened.network.engine)
    done: list[SegmentedVolume] = []
    failures: dict[int, Failure] = {}
    for number, volume in enumerate(volumes):
        try:
            result = _segmented(Path(volume), places.path(volume), opened, preview)
        except Exception as error:  # whatever is wrong with one volume, the others are done
            failures[number] = described_failure(volume, error)
            logger.error("%d/%d not segmented: %s", number + 1, len(volumes), failures[number].message)
            continue
        done.append(result)
        logger.info("%d/%d %s", number + 1, len(volumes), result)
        if statistics:
            _write_statistics(output / _STATISTICS, opened, done)
    if failures:
        reasons = {number: failure.reason for number, failure in failures.items()}
        faults = [number for number, failure in failures.items() if failure.is_fault]
        raise failures_error(volumes, list(failures), reasons, faults)
    return done


def _segmented(volume: Path, mask_path: Path, model: Model, with_preview: bool) -> SegmentedVolume:
    start = time.perf_counter()
    file = checked_volume(volume, channels=model.recipe.channels)
    mask = predict(file, model.recipe, model.network).mask
    write_mask(mask_path, nifti_like(mask, file.affine, volume))
    warnings = (*_image_warnings(file), *mask_warnings(mask))
    for warning in warnings:
        logger.warning("%s: %s", volume, warning)
    picture = None
    if with_preview:
        image = file.array if file.array.ndim == 3 else file.array[..., 0]
        # the names of masks differ, also where those of volumes do so in their suffix alone
        name = mask_path.name.removesuffix(_MASK)
        picture = write_preview(mask_path.with_name(f"{name}_preview.png"), image, mask, file.affine)
    figures = mask_figures(mask, file.affine, model.recipe.labels)
    return SegmentedVolume(volume, mask_path, figures, warnings, picture, time.perf_counter() - start)


def _image_warnings(file: VolumeFile) -> Iterator[str]:
    yield from file.warnings
    array = file.array[None] if file.array.ndim == 3 else file.array.transpose(3, 0, 1, 2)
    yield from image_warnings(array)


def _write_statistics(path: Path, model: Model, done: Sequence[SegmentedVolume]) -> None:
    volumes: dict[str, Any] = {}
    for each in done:
        mask = each.mask.relative_to(path.parent).as_posix()
        volumes[mask] = {"classes": each.figures, "warnings": list(each.warnings)}
    about = {
        "model": model.name,
        "weights_sha256": model.recipe.facts.get("weights_sha256"),
        "engine": model.network.engine,
    }
    write_json(path, {**about, "volumes": volumes})
