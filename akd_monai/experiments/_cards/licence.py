# SPDX-License-Identifier: Apache-2.0
"""The licence of a bundle, as its own files state it."""

from __future__ import annotations

import re
from pathlib import Path

from akd_monai.bundle.metadata import read_metadata

__all__ = ["NOT_STATED", "licence_of"]

NOT_STATED = "not stated"
_KEYS = ("license", "licence")
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
# where bundles of the MONAI model zoo state the terms of the data that they learned from
_DATA = Path("docs") / "data_license.txt"
_KNOWN = {
    r"Apache License\s+Version 2\.0": "Apache-2.0",
    r"MIT License": "MIT",
    r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3": "AGPL-3.0",
    r"GNU GENERAL PUBLIC LICENSE\s+Version 3": "GPL-3.0",
    r"Attribution-NonCommercial 4\.0 International": "CC-BY-NC-4.0",
    r"Attribution 4\.0 International": "CC-BY-4.0",
}


def licence_of(bundle: Path) -> str:
    """Return what a bundle says of its licence: its metadata, else its licence file, else that it is not stated.

    A licence file with the text of a well-known licence is named by that licence's SPDX identifier; of another one the
    first line is quoted. Nothing is inferred from who wrote the bundle.
    """
    stated = _stated(bundle)
    if (bundle / _DATA).is_file():
        return f"{stated}; terms of the data it was published with: {_DATA.as_posix()} of the bundle"
    return stated


def _stated(bundle: Path) -> str:
    metadata = read_metadata(bundle)
    for key in _KEYS:
        if isinstance(metadata.get(key), str) and metadata[key].strip():
            return " ".join(metadata[key].split())
    for name in _FILES:
        if (bundle / name).is_file():
            return _named((bundle / name).read_text(encoding="utf-8", errors="replace"), name)
    return NOT_STATED


def _named(text: str, file: str) -> str:
    for pattern, name in _KNOWN.items():
        if re.search(pattern, text):
            return name
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f'see {file}, "{lines[0][:80]}"' if lines else NOT_STATED
