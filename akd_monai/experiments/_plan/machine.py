# SPDX-License-Identifier: Apache-2.0
"""The file that says on which cluster the cells of an experiment run."""

from __future__ import annotations

import os
from typing import Any

from akd_monai.errors import InputError, check_mapping
from akd_monai.files import read_json

__all__ = ["read_machine"]


def read_machine(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``{"provider": "SlurmProvider", "options": {...}, "executor": {...}}``; all names in it are Parsl's.

    Args:
        path: a JSON file; ``options`` are arguments of the provider, ``executor`` of Parsl's ``HighThroughputExecutor``.

    Raises:
        InputError: if it is no such file.
        UnknownNameError: for another key.
    """
    where = f"machine file {os.fspath(path)!r}"
    content = check_mapping(where, read_json(path), ("provider", "options", "executor"))
    if not isinstance(content.get("provider"), str):
        raise InputError("has no provider", where=where, remedy="name one of Parsl, for instance 'SlurmProvider'")
    for name in ("options", "executor"):
        if not isinstance(content.setdefault(name, {}), dict):
            raise InputError(f"{name} must be an object, got {content[name]!r}", where=where)
    return content
