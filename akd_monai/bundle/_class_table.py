# SPDX-License-Identifier: Apache-2.0
"""The table that says which classes of a teacher make up a class of the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from akd_monai.bundle._class_names import folded
from akd_monai.errors import InputError, unknown_name

__all__ = ["find_class", "parse_table"]

_EXAMPLE = 'write it as "background=background+liver, gland=transition zone+peripheral zone"'


def parse_table(given: str | Mapping[str, Any]) -> dict[str, list[str]]:
    """Return for each class of the student that a table names the names or channels of the teacher's classes.

    Args:
        given: ``"gland=transition zone+peripheral zone, tumor=4"``, or the same as a mapping, whose values may be lists.

    Raises:
        InputError: if it is written in another way, or names a class of the student twice.

    Example:
        >>> parse_table("gland = transition zone + 2, tumor=4")
        {'gland': ['transition zone', '2'], 'tumor': ['4']}
    """
    table: dict[str, list[str]] = {}
    for name, members in _pairs(given):
        parts = members.split("+") if isinstance(members, str) else _as_list(members)
        names = [str(part).strip() for part in parts]
        if not name.strip() or not names or "" in names:
            raise InputError(f"the table of classes {given!r} has an entry with an empty side", remedy=_EXAMPLE)
        if folded(name) in map(folded, table):
            raise InputError(f"the table of classes names {name.strip()!r} twice", remedy="join its parts with +")
        table[name.strip()] = names
    return table


def _pairs(given: str | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(given, Mapping):
        return [(str(name), members) for name, members in given.items()]
    if not isinstance(given, str):
        raise InputError(
            f"the table of classes must be a string or a mapping, got {type(given).__name__}", remedy=_EXAMPLE
        )
    pairs = []
    for entry in given.split(","):
        name, sign, members = entry.partition("=")
        if not sign:
            raise InputError(f"the entry {entry.strip()!r} of the table of classes has no '='", remedy=_EXAMPLE)
        pairs.append((name, members))
    return pairs


def _as_list(members: Any) -> Sequence[Any]:
    return members if isinstance(members, (list, tuple)) else [members]


def find_class(name: str, names: Sequence[str] | None, count: int, whose: str) -> int:
    """Return the channel of a class, given by its name or, unless a class has that name, by its number.

    Args:
        name: as a table has it.
        names: the classes in order, if they have names.
        count: how many there are.
        whose: ``"teacher"`` or ``"student"``, for messages.

    Raises:
        UnknownNameError: if there is no such class.

    Example:
        >>> find_class("Liver", ["background", "liver"], 2, "teacher"), find_class("0", None, 2, "student")
        (1, 0)
    """
    by_name = {folded(known): channel for channel, known in enumerate(names or ())}
    if folded(name) in by_name:
        return by_name[folded(name)]
    if name.isdecimal() and int(name) < count:
        return int(name)
    known = names or [str(channel) for channel in range(count)]
    remedy = "" if names else "Its metadata names no class for each channel, so give the channel's number"
    raise unknown_name("class", name, known, where=f"of the {whose}", remedy=remedy)
