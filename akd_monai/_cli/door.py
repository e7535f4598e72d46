# SPDX-License-Identifier: Apache-2.0
"""A verb: what it is called, which public function it calls, which old words it still accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["VERBS", "Door", "Names", "names", "verb"]

Names = str | list[str] | tuple[str, ...] | None


@dataclass(frozen=True)
class Door:
    """A verb of the command line.

    Args:
        run: the function that Fire calls; its own docstring documents only what ``target`` does not.
        target: the public function, as ``module:name``; its docstring documents the arguments.
        settings: a dataclass whose fields are further arguments, as ``module:name``.
        old_words: old name of an argument: the present one.
        letters: letter of a flag: the argument, as ``-i`` stands for ``--input``.
        lists: arguments that take several values, separated by commas or blanks.
    """

    run: Callable[..., str | None]
    target: str
    settings: str | None
    old_words: Mapping[str, str]
    letters: Mapping[str, str] = field(default_factory=dict)
    lists: tuple[str, ...] = ()


VERBS: dict[str, Door] = {}


def verb(
    target: str,
    *,
    settings: str | None = None,
    old_words: Mapping[str, str] | None = None,
    letters: Mapping[str, str] | None = None,
    lists: tuple[str, ...] = (),
) -> Callable[[Callable[..., str | None]], Callable[..., str | None]]:
    """Register the decorated function as the verb of its name."""

    def register(run: Callable[..., str | None]) -> Callable[..., str | None]:
        VERBS[run.__name__] = Door(run, target, settings, dict(old_words or {}), dict(letters or {}), lists)
        return run

    return register


def names(value: Any) -> list[str]:
    """Return names as given on a command line: a string is split at commas, and Fire turns digits into numbers.

    Example:
        >>> names("BMC,HK"), names(["BMC"]), names(5), names(None)
        (['BMC', 'HK'], ['BMC'], ['5'], [])
    """
    if value is None:
        return []
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        value = [value]
    stripped = (str(name).strip() for name in value)
    return [name for name in stripped if name]
