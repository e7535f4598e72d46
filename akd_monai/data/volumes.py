# SPDX-License-Identifier: Apache-2.0
"""Volumes to be segmented, as a user has them: one file or a folder, without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.keys import random_key

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def input_volumes(path: str | Path) -> list[str]:
    """Return the image files below ``path``, or ``path`` itself when it is a file; masks by name are left out.

    A path that does not exist gives an empty list, so that a config with its default path can be read;
    :func:`require_volumes` turns it into an error when the config is run.
    """
    root = Path(path)
    if root.is_file():
        return [str(root)]
    files = sorted(f for f in root.rglob("*") if f.name.lower().endswith(_SUFFIXES) and not f.name.startswith("."))
    return [str(f) for f in files if not _stem(f).endswith("_segmentation")]


def _stem(path: Path) -> str:
    name = path.name.lower()
    return next((name[: -len(s)] for s in _SUFFIXES if name.endswith(s)), name)


def require_volumes(volumes: Sequence[str], path: str | Path) -> None:
    """Raise an :class:`InputError` when there is nothing to segment.

    Example:
        >>> require_volumes(input_volumes("no/such/folder"), "no/such/folder")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: 'no/such/folder' does not exist; give a volume or a folder with --dataset_dir.
    """
    if not volumes:
        what = f"holds no volume ({', '.join(_SUFFIXES)})" if Path(path).is_dir() else "does not exist"
        raise InputError(f"{str(path)!r} {what}; give a volume or a folder with --dataset_dir.")


def fingerprint(cases: Sequence[Mapping[str, Any]]) -> int:
    """Return a number that changes when a training run is given other cases: their names and the size of their files.

    Example:
        >>> one, other = {"case_id": "RUNMC/Case00", "image": "a"}, {"case_id": "BMC/Case00", "image": "a"}
        >>> fingerprint([one]) == fingerprint([other])
        False
    """
    facts = []
    for case in cases:
        files = [Path(str(case[key])) for key in ("image", "label") if key in case]
        name = str(case.get("case_id") or files[0].name)
        facts.append((name, *(f.stat().st_size if f.is_file() else 0 for f in files)))
    return random_key(*sorted(facts))
