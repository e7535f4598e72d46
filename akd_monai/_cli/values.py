# SPDX-License-Identifier: Apache-2.0
"""Values of flags are checked by the annotations of a verb, and by the defaults of its settings, before it runs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any

from fire.parser import DefaultParseValue

from akd_monai._cli.door import Door
from akd_monai._cli.source import field_defaults
from akd_monai.errors import InputError

__all__ = ["check_flag_values"]

_NULLS = ("null", "None")


def check_flag_values(door: Door, given: Mapping[str, str]) -> None:
    """Raise an error for a switch that is no switch, and for a number that is none.

    Args:
        door: the verb.
        given: flags with a value, as typed.

    Raises:
        InputError: for the first value of another kind.

    Example:
        >>> def verify(dataset_dir: str, fix: bool = False, workers: int = 2) -> str: ...
        >>> check_flag_values(Door(verify, "", None, {}), {"workers": "2", "fix": "maybe"})
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: --fix must be True or False, got 'maybe'.
    """
    kinds = _kinds(door)
    for name, typed in given.items():
        kind = kinds.get(name, "")
        is_none = typed in _NULLS and kind.endswith("None")
        if kind and not is_none:
            _check(f"--{name}", kind.split(" ")[0], DefaultParseValue(typed))


def _kinds(door: Door) -> dict[str, str]:
    """Return ``bool``, ``int`` or ``float``, perhaps with ``| None``, for each flag that is one of them."""
    parameters = inspect.signature(door.run).parameters
    kinds = {name: str(parameter.annotation) for name, parameter in parameters.items()}
    if door.settings is not None:
        defaults = field_defaults(door.settings)
        kinds.update({name: type(ast.literal_eval(value)).__name__ for name, value in defaults.items()})
    return {name: kind for name, kind in kinds.items() if kind.split(" ")[0] in ("bool", "int", "float")}


def _check(flag: str, kind: str, value: Any) -> None:
    is_bool = isinstance(value, bool)
    if kind == "bool" and not is_bool:
        raise InputError(f"{flag} must be True or False, got {value!r}.")
    if kind == "int" and (is_bool or not isinstance(value, int)):
        raise InputError(f"{flag} must be an integer, got {value!r}.")
    if kind == "float" and (is_bool or not isinstance(value, (int, float))):
        raise InputError(f"{flag} must be a number, got {value!r}.")
