# SPDX-License-Identifier: Apache-2.0
"""Account for every file of the input folder: what no case uses and no source has skipped is named as well."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from akd_monai.names import is_volume
from akd_monai.prostate.prepare._sources import Listing, Skipped
from akd_monai.prostate.prepare._sources.dicom_slice import is_dicom
from akd_monai.prostate.prepare._sources.files import data_files

__all__ = ["unused_files"]

# Texts and tables that lie beside data; nobody expects them to be prepared.
_PAPERS = (".csv", ".tsv", ".txt", ".json", ".md", ".rst", ".pdf", ".html", ".xml", ".xls", ".xlsx", ".yaml", ".yml")
_NAMES = ("dicomdir", "license", "licence", "readme", "thumbs.db", "desktop.ini")


def unused_files(root: Path, listing: Listing) -> list[Skipped]:
    """Return what lies below ``root`` and is neither used by a case nor skipped with a reason.

    Slices of one folder are named by the folder. Hidden files, texts and tables are no data and are left out.
    """
    known = _Known(listing)
    unused: dict[Path, Skipped] = {}
    for path in _files(root):
        if known.covers(path):
            continue
        if not path.is_file():
            unused[path] = Skipped(path, "a link that is not followed, or that leads nowhere")
        elif is_dicom(path) and not is_volume(path):
            why = "DICOM files that this source does not use"
            unused.setdefault(path.parent, Skipped(path.parent, why))
        elif is_volume(path):
            unused[path] = Skipped(path, "a volume that this source does not use")
        else:
            unused[path] = Skipped(path, "of a format that is not read")
    return list(unused.values())


class _Known:
    """The files and folders that a listing speaks of."""

    def __init__(self, listing: Listing) -> None:
        used = [path for case in listing.cases for path in (*case.images, *case.labels)]
        told = [skipped.path for skipped in listing.skipped]
        self._paths = {*used, *told}
        self._data = _data_of((*used, *told))

    def covers(self, path: Path) -> bool:
        """Return whether a file is used or named; a folder covers its DICOM files, not volumes among them."""
        if path in self._paths or path in self._data:
            return True
        if path.is_dir():
            return any(path in used.parents for used in self._paths)
        return not is_volume(path) and any(parent in self._paths for parent in path.parents)


def _data_of(paths: Iterable[Path]) -> set[Path]:
    found = [data for path in paths if path.is_file() for data in data_files(path)]
    return {Path(os.path.normpath(data)) for data in found}


def _files(root: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*links, *sorted(names)):
            path = Path(parent, name)
            if not name.startswith(".") and not _is_paper(path) and (path.is_file() or path.is_symlink()):
                yield path


def _is_paper(path: Path) -> bool:
    name = path.name.lower()
    return name in _NAMES or path.suffix.lower() in _PAPERS
