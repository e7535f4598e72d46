# SPDX-License-Identifier: Apache-2.0
"""The manifest of a prepared folder: one record a case, written after every case, without personal data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import read_json, write_json

__all__ = [
    "FORMAT",
    "MANIFEST",
    "UNLABELLED",
    "VERSION",
    "Manifest",
    "Record",
    "is_synthetic",
    "patient_ids",
    "read_manifest",
]

MANIFEST = "manifest.json"
UNLABELLED = "unlabelled"
FORMAT = "akd_monai.prepared"
VERSION = 1

Record = dict[str, Any]

_FIELDS = ("format", "version", "cases", "failed")
_REMEDY = "delete it and prepare again"


class Manifest:
    """Records of prepared cases by ``case_id`` (``SITE/CaseNN``), and the failures of the last run.

    A record holds ``case_id``, ``site``, ``patient_id``, ``source``, ``key``, ``image`` and ``label`` (paths below the
    folder; ``label`` is ``None`` for a case without one), ``labelled``, ``label_rule``, ``series``, ``original`` and
    ``prepared`` (``size``, ``spacing_mm``, ``orientation``), ``flips``, ``scanner`` (what the case's own header says:
    maker, model, field strength, coil), ``site_table`` (what is published of the site, ``None`` for others),
    ``gland_cm3``, ``sha256`` (``image``, ``label``, ``image_inputs``, ``label_inputs``), ``options`` and ``warnings``.

    Args:
        folder: the prepared folder; its ``manifest.json`` is read if there is one.

    Attributes:
        path: of the file.
        records: a record for each case, by ``case_id``.
        failed: cases that could not be prepared, as the file lists them.
        extra: further fields of the file, such as ``"synthetic"`` of a synthetic set.

    Raises:
        InputError: for a manifest that is damaged or of another format or version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / MANIFEST
        self.records: dict[str, Record] = {}
        self.failed: list[dict[str, str]] = []
        self.extra: dict[str, Any] = {}
        if self.path.is_file():
            content = read_manifest(self.path)
            self.records = {record["case_id"]: record for record in content["cases"]}
            self.failed = list(content.get("failed", []))
            self.extra = {name: value for name, value in content.items() if name not in _FIELDS}

    def add(self, record: Record) -> None:
        """Put ``record`` in the place of an older one of the same case, and write the file."""
        self.records[record["case_id"]] = record
        self.write()

    def write(self) -> None:
        """Write ``manifest.json``; a reader sees the complete old file or the complete new one."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            **self.extra,
            "cases": [self.records[name] for name in sorted(self.records)],
            "failed": self.failed,
        }
        write_json(self.path, content)


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a manifest; each entry of its ``"cases"`` is known to have a ``"case_id"``.

    Args:
        path: the file.

    Raises:
        InputError: if it cannot be read, is damaged, or has another format or version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Manifest(folder).add({"case_id": "HK/Case13"})
        ...     read_manifest(Path(folder) / MANIFEST)["cases"]
        [{'case_id': 'HK/Case13'}]
    """
    content = read_json(path, remedy=_REMEDY)
    _check(content, path)
    return dict(content)


def patient_ids(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the patient of each case (``SITE/CaseNN``) of a prepared folder; empty where no manifest says so.

    A ``manifest.json`` of another program is ignored.

    Raises:
        InputError: if the manifest cannot be read, is damaged, or has another version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Manifest(folder).add({"case_id": "HK/Case13", "patient_id": "a"})
        ...     patient_ids(folder)
        {'HK/Case13': 'a'}
    """
    path = Path(folder) / MANIFEST
    content = _own_content(path)
    if not content:
        return {}
    _check(content, path, "case_id", "patient_id")
    return {record["case_id"]: record["patient_id"] for record in content["cases"]}


def is_synthetic(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder's manifest says that its cases were drawn and no patient was scanned.

    Raises:
        InputError: if the manifest cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = Manifest(folder)
        ...     manifest.extra["synthetic"] = True
        ...     before = is_synthetic(folder)
        ...     manifest.write()
        ...     before, is_synthetic(folder)
        (False, True)
    """
    return bool(_own_content(Path(folder) / MANIFEST).get("synthetic"))


def _own_content(path: Path) -> dict[str, Any]:
    """Return the content of a manifest of this package; empty for none, or one of another program."""
    if not path.is_file():
        return {}
    content = read_json(path, kind=object, remedy=_REMEDY)
    is_own = isinstance(content, dict) and content.get("format") == FORMAT
    return dict(content) if is_own else {}


def _check(content: dict[str, Any], path: str | os.PathLike[str], *wanted: str) -> None:
    where = os.fspath(path)
    kind = content.get("format")
    version = content.get("version")
    if kind != FORMAT or version != VERSION:
        what = f"is a manifest of format {kind!r} version {version!r}, expected {FORMAT!r} version {VERSION}"
        raise InputError(what, where=where, remedy="use another folder")
    names = set(wanted or ["case_id"])
    cases = content.get("cases")
    if not isinstance(cases, list) or not all(_is_record(case, names) for case in cases):
        what = f"is damaged: 'cases' must be a list of records with {' and '.join(sorted(names))}"
        raise InputError(what, where=where, remedy=_REMEDY)


def _is_record(case: Any, names: set[str]) -> bool:
    return isinstance(case, dict) and names <= case.keys() and isinstance(case["case_id"], str)
