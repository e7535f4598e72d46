# SPDX-License-Identifier: Apache-2.0
"""Values of overrides: null, their kinds and ranges, and names that are arguments of nothing."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._installed import find_target, full_name
from akd_monai.bundle._settings import check_settings, known_settings
from akd_monai.errors import InputError, unknown_name

__all__ = ["check_values", "with_none"]

_PREFIXES = ("$", "@", "%")
_NULL = "null"
_OWN = "$import akd_monai"
# of two names in a section of plain values, one is taken for a slip of the other above this
_SLIP = 0.8
_MOST_STEPS = 8
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def with_none(override: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides with None for ``null``, which a command line hands over as a string.

    Example:
        >>> with_none({"folds": "null", "fold": 1})
        {'folds': None, 'fold': 1}
    """
    return {name: None if value == _NULL else value for name, value in override.items()}


def check_values(parser: ConfigParser, override: Mapping[str, Any], bundle_dir: Path) -> None:
    """Check values by kind and range; of a bundle from elsewhere, whose ids may mean something else, only the type.

    Expressions and references are checked when they have a value. The ids must exist, or be arguments of components.

    Raises:
        InputError: for a value of another kind, or out of range.
        UnknownNameError: for an id below a component that takes no such argument.
    """
    own = _OWN in (parser.get("imports") or [])
    known = known_settings(of_overlay=not own)
    for name, value in override.items():
        if name not in parser:
            _check_argument(parser, name, bundle_dir)
        elif not (isinstance(value, str) and value.startswith(_PREFIXES)):
            id_, current = _followed(parser, name)
            if id_ in known:
                check_settings(**{id_: value})
            else:
                _check_type(name, value, current)


def _followed(parser: ConfigParser, name: str) -> tuple[str, Any]:
    """Return id and value of what ``name`` refers to, where it is a plain reference."""
    for _ in range(_MOST_STEPS):
        value = parser.get(name)
        if not isinstance(value, str) or not value.startswith("@") or value[1:] not in parser:
            break
        name = value[1:]
    return name, parser.get(name)


def _check_type(name: str, value: Any, current: Any) -> None:
    """Refuse a string for a number or a switch, NaN, and a number for a switch."""
    if value is None or not isinstance(current, (bool, int, float)):
        return
    if isinstance(current, bool):
        if not isinstance(value, bool):
            raise InputError(f"{name} must be True or False, as {current} in the config, got {value!r}.")
    elif isinstance(value, str) or (isinstance(value, Real) and math.isnan(value)):
        raise InputError(f"{name} must be a number, as {current} in the config, got {value!r}.")


def _check_argument(parser: ConfigParser, name: str, bundle_dir: Path) -> None:
    parent, _, argument = name.replace("::", "#").rpartition("#")
    section = parser.get(parent)
    if not isinstance(section, dict) or argument.startswith("_"):
        return
    taken = _arguments(parser, section, bundle_dir)
    if taken is None:
        if difflib.get_close_matches(argument, section, n=1, cutoff=_SLIP):
            raise unknown_name("config id", name, [f"{parent}#{key}" for key in section])
    elif argument not in taken:
        raise unknown_name("argument", argument, taken, where=f"of {parent}")


def _arguments(parser: ConfigParser, section: Mapping[str, Any], bundle_dir: Path) -> list[str] | None:
    """Return the arguments that a component takes; None where anything may be given, or that is not known."""
    target = section.get("_target_")
    if not isinstance(target, str) or target.startswith(_PREFIXES):
        return None
    _, found = find_target(full_name(target, parser.locator), bundle_dir)
    if not inspect.isclass(found):
        return None
    taken: list[str] = []
    for kind in inspect.getmro(found):
        if "__init__" not in vars(kind):
            continue
        parameters = inspect.signature(vars(kind)["__init__"]).parameters.values()
        taken += [p.name for p in parameters if p.kind in _NAMED and p.name != "self"]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return taken
    return None
