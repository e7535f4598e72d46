# SPDX-License-Identifier: Apache-2.0
"""The manifest of a prepared folder: one record a case, written whole after every case, without a word about people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import atomic_write

MANIFEST = "manifest.json"
UNLABELLED = "unlabelled"
FORMAT = "akd_monai.prepared"
VERSION = 1
_FIELDS = ("format", "version", "cases", "failed")

Record = dict[str, Any]


class Manifest:
    """Records of prepared cases by ``case_id`` (``SITE/CaseNN``), and the failures of the last run.

    A record holds ``case_id``, ``site``, ``patient_id``, ``source``, ``key``, ``image`` and ``label`` (paths below the
    folder; ``label`` is ``None`` for a case without one), ``labelled``, ``label_rule``, ``series``, ``original`` and
    ``prepared`` (``size``, ``spacing_mm``, ``orientation``), ``flips``, ``scanner`` (what the case's own header says:
    maker, model, field strength, coil), ``site_table`` (what is published of the site, ``None`` for others),
    ``gland_cm3``, ``sha256`` (``image``, ``label``, ``image_inputs``, ``label_inputs``), ``options`` and ``warnings``.
    Further fields of the file's top level are kept in ``extra``.

    Args:
        folder: the prepared folder; its ``manifest.json`` is read if there is one.

    Raises:
        InputError: for a manifest that is damaged or of another kind.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / MANIFEST
        self.records: dict[str, Record] = {}
        self.failed: list[dict[str, str]] = []
        self.extra: dict[str, Any] = {}
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT or content["version"] != VERSION:
                raise InputError(
                    f"{self.path} is a manifest of format {content['format']!r} version {content['version']}, expected "
                    f"{FORMAT!r} version {VERSION}; prepare into another folder."
                )
            self.records = {record["case_id"]: record for record in content["cases"]}
            self.failed = list(content.get("failed", []))
            if not all(isinstance(name, str) for name in self.records):
                raise TypeError("a case_id is no string")
            # a synthetic set says so here; writing the manifest must not drop that
            self.extra = {name: value for name, value in content.items() if name not in _FIELDS}
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path} is damaged ({type(error).__name__}: {error}); delete it and prepare again."
            ) from None

    def by_key(self, key: str) -> Record | None:
        """Return the record of the raw case with this identity, if it has been prepared before."""
        return next((record for record in self.records.values() if record["key"] == key), None)

    def add(self, record: Record) -> None:
        """Put ``record`` in the place of an older one of the same case, and write the file."""
        self.records[record["case_id"]] = record
        self.write()

    def write(self) -> None:
        """Write ``manifest.json``; a reader sees the old file or the new one, never half of it."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            **self.extra,
            "cases": [self.records[name] for name in sorted(self.records)],
            "failed": self.failed,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write(self.path, text + "\n")


def patient_ids(folder: str | Path) -> dict[str, str]:
    """Return the patient of each case (``SITE/CaseNN``) of a prepared folder; empty without a manifest.

    Splits need it: two scans of one patient must not be trained and tested on.
    """
    return {name: record["patient_id"] for name, record in Manifest(Path(folder)).records.items()}
