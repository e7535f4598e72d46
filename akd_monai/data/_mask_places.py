# SPDX-License-Identifier: Apache-2.0
"""Names of the files of masks, one for each volume, in the folders of the volumes; without MONAI."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from akd_monai.errors import InputError
from akd_monai.files import check_writable, remove_leftovers
from akd_monai.names import stem_of

__all__ = ["MaskPlaces"]

_Path = str | os.PathLike[str]

# of a file's name, in bytes, on the usual file systems
_LONGEST_NAME = 255


class MaskPlaces:
    """Give each volume a mask of its own; :class:`~akd_monai.data.MaskLayout` is this for MONAI, and documents it.

    Args:
        output_dir: folder of the masks.
        volumes: all volumes that will be segmented.
        root: folder whose sub-folders are kept.
        postfix: what follows the volume's name.
        extension: suffix of the masks.
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

    def path(self, volume: _Path) -> Path:
        """Return the path of a volume's mask."""
        file = os.path.abspath(volume)
        return self.output_dir / (self._places.get(file) or self._place(stem_of(file), ""))

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
                f"{first!r} and {second!r} would be written to one mask, {str(self.path(first))!r}",
                remedy="rename one of them, or segment them into two folders, each with its own --output_dir",
                code="clash",
            )

    def _check_names(self) -> None:
        volumes = {os.path.realpath(file) for file in self._places}
        for file in self._places:
            mask = self.path(file)
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
