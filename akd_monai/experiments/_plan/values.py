# SPDX-License-Identifier: Apache-2.0
"""Values of an experiment's file, of the kind that is wanted or refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from akd_monai.errors import InputError

__all__ = [
    "check_different",
    "folder_name",
    "folder_names",
    "integers",
    "is_folder_name",
    "mapping",
    "one_integer",
    "yes_or_no",
]

# random generators take no larger seed
_MOST = 2**32 - 1
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
    if not is_folder_name(name):
        raise InputError(
            f"{what} {name!r} cannot be the name of a folder",
            where=where,
            remedy="use letters, digits and . _ + -, starting with a letter or digit",
        )
    return str(name)


def is_folder_name(name: Any) -> bool:
    """Return whether a folder can have a name on every system."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def folder_names(what: str, given: Any, where: str) -> tuple[str, ...]:
    """Return a list of different names.

    Args:
        what: a single one of them; the key of the list is its plural.
        given: the value of that key.
        where: for messages.

    Raises:
        InputError: if it is empty, or a name comes twice or can be that of no folder.
    """
    if not isinstance(given, list) or not given:
        raise InputError(f"{what}s must be a list of names, got {given!r}", where=where)
    names = tuple(folder_name(what, name, where) for name in given)
    check_different(what, names, where)
    return names


def check_different(what: str, names: Iterable[str], where: str) -> None:
    """Refuse names whose folders would be one where upper and lower case are not told apart, as on macOS and Windows.

    Raises:
        InputError: naming both.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            twice = "comes twice" if other == name else f"differs from {other!r} by upper and lower case alone"
            raise InputError(f"{what} {name!r} {twice}", where=where, remedy="give each a name of its own")


def integers(what: str, given: Any, least: int, where: str) -> tuple[int, ...]:
    """Return a list of different integers.

    Raises:
        InputError: if it is empty, or one is out of range or comes twice.
    """
    is_list = isinstance(given, list) and len(given) > 0
    if not is_list or not all(_is_integer(n, least, _MOST) for n in given) or len(set(given)) != len(given):
        raise InputError(
            f"{what} must be a list of different integers of {least} to {_MOST}, got {given!r}", where=where
        )
    return tuple(given)


def one_integer(what: str, given: Any, least: int, where: str, most: int = 1000) -> int:
    """Return an integer in a range.

    Raises:
        InputError: if it is none.
    """
    if not _is_integer(given, least, most):
        raise InputError(f"{what} must be an integer of {least} to {most}, got {given!r}", where=where)
    return int(given)


def _is_integer(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
