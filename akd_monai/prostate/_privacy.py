# SPDX-License-Identifier: Apache-2.0
"""Keep people out of manifests: pseudonyms for names, and folder names without dates and identifiers.

Names burnt into the pixels cannot be found here; prostate MRI shows no face.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "SECRET_FILE",
    "known_secret",
    "looks_personal",
    "made_secret",
    "pseudonym",
    "redacted",
    "without_folders",
]

SECRET_FILE = ".prepare-key"

_DATES = re.compile(
    r"(?<!\d)(?:(?:19|20)\d{6}|\d{1,2}[-./]\d{1,2}[-./](?:19|20)\d{2}|(?:19|20)\d{2}[-./]\d{1,2}[-./]\d{1,2})(?!\d)"
)
_UID = re.compile(r"(?<![\d.])\d+(?:\.\d+){5,}")
_NAME = re.compile(r"[^\W\d_]+\^[^\W\d_]+")
_QUOTED_PATH = re.compile(r"""(?P<quote>['"])(?:~|[A-Za-z]:)?[\\/][^'"]*[\\/](?P<name>[^'"\\/]+)(?P=quote)""")
# A path from the root, with a drive or from a home folder; its last part is kept.
_PATH = re.compile(r"(?<![\w.])(?:~[\w.-]*|[A-Za-z]:)?(?:[\\/][^\s\\/'\":;,()]+)*[\\/](?=[^\s\\/'\":;,()])")
_WORDS = re.compile(r"patient.?(?:s.?)?(?:name|id|birth)|birth.?date|accession|\bdob\b|\bmrn\b", re.IGNORECASE)


def redacted(text: str) -> str:
    """Replace dates by ``DATE``, DICOM identifiers (which can hold dates) by a hash, ``NAME^NAME`` by ``NAME``.

    Example:
        >>> redacted("07-27-2003-NA-MR prostate/2-t2tsetra")
        'DATE-NA-MR prostate/2-t2tsetra'
    """
    without_uids = _UID.sub(_hashed_uid, text)
    return _NAME.sub("NAME", _DATES.sub("DATE", without_uids))


def without_folders(text: str, folders: Iterable[Path] = ()) -> str:
    """Return ``text`` with every path cut to its last part, so that no home folder or user's name is stored.

    Args:
        text: a message.
        folders: folders that may occur in it; their names may hold blanks, by which a path in a text cannot be told.

    Example:
        >>> without_folders("cannot open '/home/doe/raw/a.nii': I/O error", [])
        "cannot open 'a.nii': I/O error"
    """
    known = {form for folder in (*folders, Path.home()) for form in (str(folder), str(folder.resolve()))}
    for folder in sorted(known, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(f"{folder}/", "").replace(f"{folder}\\", "").replace(folder, "the folder")
    return _PATH.sub("", _QUOTED_PATH.sub(r"\g<quote>\g<name>\g<quote>", text))


def _hashed_uid(match: re.Match[str]) -> str:
    return "uid-" + hashlib.sha256(match[0].encode()).hexdigest()[:8]


def looks_personal(text: str) -> bool:
    """Return whether ``text`` holds a date, a DICOM-style name or a word such as "patient id".

    Example:
        >>> looks_personal("DOE^JOHN"), looks_personal("FSL 6.0")
        (True, False)
    """
    return any(pattern.search(text) for pattern in (_DATES, _UID, _NAME, _WORDS))


def known_secret(folder: Path) -> bytes:
    """Return the secret of a prepared folder, empty if it has none yet."""
    path = folder / SECRET_FILE
    return path.read_bytes() if path.is_file() else b""


def made_secret(folder: Path) -> bytes:
    """Return the secret of a prepared folder, made on first use, readable by its owner alone."""
    path = folder / SECRET_FILE
    if not known_secret(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(16))
    return known_secret(folder)


def pseudonym(name: str, secret: bytes) -> str:
    """Return an identifier that cannot be traced back to ``name`` without ``secret`` (HMAC-SHA256).

    A name is the same whether its accents are written as a part of their letters or, as macOS does, after them.

    Example:
        >>> pseudonym("DOE^JOHN", b"0" * 16)
        'P-5ee6b15a29'
    """
    return "P-" + hmac.new(secret, unicodedata.normalize("NFC", name).encode(), hashlib.sha256).hexdigest()[:10]
