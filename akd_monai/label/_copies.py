# SPDX-License-Identifier: Apache-2.0
"""Copies of bundles on which the server works, so that the bundles themselves are never changed."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

from akd_monai.files import read_json, sha256_of, write_json

__all__ = ["digest", "served_copy"]

logger = logging.getLogger(__name__)

_STAMP = "served_from.json"
_LEFT_OUT = ("eval", "data", "__pycache__", "*.log", _STAMP)


def served_copy(bundle: Path, target: Path) -> Path:
    """Copy a bundle to the folder ``target`` and return it.

    An existing copy is kept, with what was trained in it. If the bundle has changed since, it is copied again, unless
    something was trained in the copy.

    Raises:
        InputError: if the stamp of an existing copy is damaged.
    """
    wanted = digest(bundle)
    stamp = target / _STAMP
    if target.exists():
        known = read_json(stamp).get("digest") if stamp.is_file() else None
        if known == wanted:
            return target
        if known is None or digest(target) != known:
            logger.warning(
                "%s is kept, since it was changed or trained there; delete it to serve %s as it is now", target, bundle
            )
            return target
        shutil.rmtree(target)
    _copy(bundle, target, wanted)
    return target


def _copy(bundle: Path, target: Path, wanted: str) -> None:
    partial = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(bundle, partial, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    write_json(partial / _STAMP, {"source": str(bundle.resolve()), "digest": wanted}, indent=2)
    partial.replace(target)


def digest(folder: Path) -> str:
    """Return a hash of what is copied of a bundle: paths and content, without results and caches."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).parts
        if not any(_is_left_out(part) for part in parts):
            total.update("/".join(parts).encode() + b"\0" + bytes.fromhex(sha256_of(path)))
    return total.hexdigest()


def _is_left_out(name: str) -> bool:
    return any(Path(name).match(pattern) for pattern in _LEFT_OUT)
