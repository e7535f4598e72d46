# SPDX-License-Identifier: Apache-2.0
"""What is segmented: volumes in files, and DICOM series."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.data.checked_volume import checked_volume
from akd_monai.data.volume_file import VolumeFile
from akd_monai.data.volumes import input_volumes, require_volumes
from akd_monai.deploy._dicom_choice import Choice, chosen_series, wrong_modality
from akd_monai.deploy._dicom_files import Found, Series, find_series, is_dicom
from akd_monai.deploy._dicom_slices import read_series
from akd_monai.deploy._recipe import Recipe
from akd_monai.errors import InputError
from akd_monai.names import is_volume

__all__ = ["Inputs", "Loaded", "Source", "VolumeSource"]

_FLAG = "-i"
# a folder has no suffix; one that is no file's, so that T2/ and T2.nii.gz get masks of two names
_SERIES = ".dicom"


@dataclass(frozen=True)
class Loaded:
    """An image in memory.

    Args:
        file: voxels and affine, checked.
        headers: of the slices of a DICOM series, in the order of the third axis.
        warnings: what is odd about it, beside what its file says.
    """

    file: VolumeFile
    headers: tuple[Any, ...] = ()
    warnings: tuple[str, ...] = ()


class Source(ABC):
    """An image to segment.

    Attributes:
        path: the file or folder, as messages name it.
        place: a path that names the files of the mask; those of a series are named by its folder.
    """

    path: Path
    place: Path

    @abstractmethod
    def load(self, recipe: Recipe) -> Loaded:
        """Return the image.

        Raises:
            InputError: if it cannot be read.
        """


@dataclass(frozen=True)
class VolumeSource(Source):
    """A NIfTI, NRRD or MetaImage file."""

    path: Path

    @property
    def place(self) -> Path:  # type: ignore[override]
        """The file itself."""
        return self.path

    def load(self, recipe: Recipe) -> Loaded:
        """Return the volume."""
        return Loaded(checked_volume(self.path, channels=recipe.channels))


@dataclass(frozen=True)
class _SeriesSource(Source):
    """A DICOM series."""

    path: Path
    place: Path
    series: Series

    def load(self, recipe: Recipe) -> Loaded:
        """Return the stacked slices."""
        modality = str(recipe.facts.get("modality") or "")
        wrong = wrong_modality(self.series, modality)
        if wrong:
            raise InputError(f"is {wrong}", where=str(self.path), remedy="give another series", code="modality")
        file, headers = read_series(self.series, self.path.name)
        unknown = (
            f"the model does not say for which modality it was made; this series is {self.series.modality or 'none'}"
        )
        return Loaded(file, headers, () if modality else (unknown,))


@dataclass(frozen=True)
class _RefusedSource(Source):
    """A folder of DICOM from which nothing can be segmented."""

    path: Path
    place: Path
    error: InputError

    def load(self, recipe: Recipe) -> Loaded:
        """Raise the reason."""
        raise self.error


@dataclass(frozen=True)
class Inputs:
    """Images below a path.

    Args:
        root: the path.
        volumes: files of volumes.
        found: DICOM series.
    """

    root: Path
    volumes: tuple[Path, ...]
    found: Found

    @classmethod
    def below(cls, root: Path, output_dir: str | os.PathLike[str]) -> Inputs:
        """Find images; what is skipped, and what else may hold images, is logged in a line each.

        Raises:
            InputError: if there is none, or one file of a series was given.
        """
        if root.is_file() and not is_volume(root) and is_dicom(root):
            raise InputError("is one file of a DICOM series", where=str(root), remedy=f"give its folder with {_FLAG}")
        volumes = input_volumes(root, output_dir=output_dir)
        found = find_series(root, output_dir) if root.is_dir() else Found((), frozenset())
        require_volumes(volumes, root, output_dir=output_dir, flag=_FLAG, series_files=found.files)
        return cls(root, tuple(map(Path, volumes)), found)

    def sources(self, wanted: str | None, modality: str) -> list[Source]:
        """Return what to segment.

        Args:
            wanted: number or UID of a series.
            modality: of the images that the model was trained on.

        Raises:
            InputError: if nothing can be segmented.
        """
        if wanted is not None and not self.found.series:
            raise InputError(f"--series {wanted} chooses among DICOM series, and {str(self.root)!r} holds none.")
        choices = chosen_series(self.found.series, wanted, modality)
        if not self.volumes and len(choices) == 1 and choices[0].error is not None:
            raise choices[0].error
        if not self.volumes and not choices:
            raise InputError(f"{str(self.root)!r} holds no image, only other DICOM files; give a series with {_FLAG}.")
        return [*map(VolumeSource, self.volumes), *self._series(choices)]

    def _series(self, choices: list[Choice]) -> Iterator[Source]:
        for choice in choices:
            if choice.series is None:
                assert choice.error is not None
                yield _RefusedSource(choice.folder, self._place(choice, ""), choice.error)
                continue
            number = choice.series.number
            tells = f"_series{number}" if choice.has_neighbours and number is not None else ""
            yield _SeriesSource(choice.folder, self._place(choice, tells), choice.series)

    def _place(self, choice: Choice, tells: str) -> Path:
        folder = choice.folder.resolve() if choice.folder == self.root else choice.folder
        parent = self.root if choice.folder == self.root else choice.folder.parent
        return parent / f"{folder.name or 'series'}{tells}{_SERIES}"
