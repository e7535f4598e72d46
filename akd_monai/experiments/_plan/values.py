# SPDX-License-Identifier: Apache-2.0
"""Values of an experiment's file, of the kind that is wanted or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from akd_monai.errors import InputError

__all__ = ["folder_name", "folder_names", "integers", "mapping", "one_integer", "yes_or_no"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def mapping(what: str, given: Any, where: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        InputError: if it is none.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be an object, got {given!r}", where=where)
    return dict(given)


def yes_or_no(what: str, given: Any, where: str) -> bool:
    """Return true or false.

    Raises:
        InputError: if it is neither.
    """
    if not isinstance(given, bool):
        raise InputError(f"{what} must be true or false, got {given!r}", where=where)
    return given


def folder_name(what: str, name: Any, where: str) -> str:
    """Return a name that a folder can have.

    Raises:
        InputError: if none can.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} cannot be the name of a folder",
            where=where,
            remedy="use letters, digits and . _ + -, starting with a letter or digit",
        )
    return name


def folder_names(what: str, given: Any, where: str) -> tuple[str, ...]:
    """Return a list of different names.

    Raises:
        InputError: if it is empty, or a name comes twice or can be that of no folder.
    """
    if not isinstance(given, list) or not given or len(set(map(str, given))) != len(given):
        raise InputError(f"the {what} names must be a list without repetition, got {given!r}", where=where)
    return tuple(folder_name(what, name, where) for name in given)


def integers(what: str, given: Any, least: int, where: str) -> tuple[int, ...]:
    """Return a list of different integers.

    Raises:
        InputError: if it is empty, or one is below ``least`` or comes twice.
    """
    is_list = isinstance(given, list) and len(given) > 0
    if not is_list or not all(type(n) is int and n >= least for n in given) or len(set(given)) != len(given):
        raise InputError(f"{what} must be different integers of at least {least}, got {given!r}", where=where)
    return tuple(given)


def one_integer(what: str, given: Any, least: int, where: str) -> int:
    """Return an integer of at least ``least``.

    Raises:
        InputError: if it is none.
    """
    return integers(what, [given], least, where)[0]
