# SPDX-License-Identifier: Apache-2.0
"""Where the masks of volumes are written: one file for each volume, in the folders of the volumes."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import FolderLayoutBase

from akd_monai.errors import InputError
from akd_monai.files import check_writable, remove_leftovers
from akd_monai.names import stem_of

__all__ = ["MaskLayout"]

_Path = str | os.PathLike[str]

# of a file's name, in bytes, on the usual file systems
_LONGEST_NAME = 255


class MaskLayout(FolderLayoutBase):
    """Give each volume a mask of its own; for ``SaveImaged(folder_layout=...)``.

    A volume in a sub-folder has its mask in a sub-folder of the same name. ``t2.nii.gz`` becomes ``t2_pred.nii.gz``; where
    volumes of one folder differ in their suffix alone, it stays in the mask's name: ``t2.nii_pred.nii.gz``. MONAI's
    :class:`monai.data.FolderLayout` gives such volumes one mask, which the last one overwrites.

    Args:
        output_dir: folder of the masks.
        volumes: all volumes that will be segmented.
        root: folder whose sub-folders are kept; a file stands for its folder. Where a volume lies elsewhere, it is the
            folder that all volumes share.
        postfix: what follows the volume's name.
        extension: suffix of the masks.

    Example:
        >>> layout = MaskLayout("masks", volumes=["in/a/t2.nii.gz", "in/b/t2.mha", "in/b/t2.nii"], root="in")
        >>> [layout.filename(volume).as_posix() for volume in layout.volumes]
        ['masks/a/t2_pred.nii.gz', 'masks/b/t2.mha_pred.nii.gz', 'masks/b/t2.nii_pred.nii.gz']
    """

    def __init__(
        self,
        output_dir: _Path,
        *,
        volumes: Sequence[_Path],
        root: _Path = "",
        postfix: str = "pred",
        extension: str = ".nii.gz",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.volumes = [os.fspath(volume) for volume in volumes]
        self.postfix = postfix
        self.extension = extension
        self._root = _common_root(self.volumes, root)
        self._places = self._distinct_places()

    def filename(self, subject: _Path = "subject", idx: int | None = None, **_: Any) -> Path:
        """Return the mask's path; ``idx`` is the number of a patch."""
        volume = os.path.abspath(subject)
        place = self._places.get(volume) or self._place(stem_of(volume), "")
        if idx is not None:
            place = place.with_name(place.name.removesuffix(self.extension) + f"_{idx}{self.extension}")
        return self.output_dir / place

    def check(self) -> None:
        """Prove before anything is computed that each mask can be written, and lose nothing.

        Temporary files that a killed run left in the folders of the masks are deleted.

        Raises:
            InputError: if two volumes have one mask (upper and lower case count as equal, as on many file systems), if a
                mask would overwrite a volume, if its name is too long, or if the folder cannot be written to.
        """
        self._check_clashes()
        self._check_names()
        check_writable(self.output_dir)
        for folder in {(self.output_dir / place).parent for place in self._places.values()}:
            remove_leftovers(folder)

    def _distinct_places(self) -> dict[str, Path]:
        files = [os.path.abspath(volume) for volume in self.volumes]
        places = {file: self._place(stem_of(file), self._folder_of(file)) for file in files}
        for clash in _clashes(places):
            for file in clash:
                places[file] = self._place(Path(file).name, self._folder_of(file))
        return places

    def _folder_of(self, file: str) -> str:
        return os.path.relpath(Path(file).parent, self._root)

    def _place(self, name: str, folder: str) -> Path:
        return Path(folder) / f"{name}_{self.postfix}{self.extension}"

    def _check_clashes(self) -> None:
        for first, second, *_ in _clashes(self._places):
            raise InputError(
                f"{first!r} and {second!r} would be written to one mask, {str(self.filename(first))!r}",
                remedy="rename one of them, or segment them into two folders, each with its own --output_dir",
                code="clash",
            )

    def _check_names(self) -> None:
        volumes = {os.path.realpath(file) for file in self._places}
        for file in self._places:
            mask = self.filename(file)
            if len(os.fsencode(mask.name)) > _LONGEST_NAME:
                what = f"its name is too long for a mask's, {len(os.fsencode(mask.name))} of {_LONGEST_NAME} bytes"
                raise InputError(what, where=file, remedy="rename it", code="name-length")
            if os.path.realpath(mask) in volumes:
                what = f"its mask would overwrite the volume {str(mask)!r}"
                raise InputError(what, where=file, remedy="choose another --output_dir", code="clash")


def _common_root(volumes: Iterable[str], root: _Path) -> str:
    """Return the folder below which folders are kept, absolute."""
    folders = [os.path.dirname(os.path.abspath(volume)) for volume in volumes]
    given = os.path.abspath(root) if os.fspath(root) else ""
    if given and all(Path(folder).is_relative_to(given) for folder in folders):
        return given
    return os.path.commonpath(folders) if folders else given or os.getcwd()


def _clashes(places: Mapping[str, Path]) -> list[list[str]]:
    """Return groups of files with one mask, on a file system that does not tell upper and lower case apart."""
    groups: dict[str, list[str]] = defaultdict(list)
    for file, place in places.items():
        groups[unicodedata.normalize("NFC", os.path.normpath(place)).casefold()].append(file)
    return [group for group in groups.values() if len(group) > 1]
