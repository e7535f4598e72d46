# SPDX-License-Identifier: Apache-2.0
"""Flags are checked before a verb runs: Fire calls the verb first and refuses what is left of the line afterwards."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from akd_monai.errors import InputError, unknown_name

__all__ = ["check_flags", "typed_values"]

_FLAG = re.compile(r"(?:--|-(?=[A-Za-z]{2}))([A-Za-z][^=]*)(=.*)?", re.DOTALL)


def check_flags(verb: str, run: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Raise an error for a flag that the verb does not have, and for a needed one that is missing.

    A verb that takes any id of a config checks these ids itself, before it runs.

    Raises:
        UnknownNameError: for a flag that is no argument.
        InputError: if an argument without default is missing.

    Example:
        >>> def phantom(output_dir: str, sites: str = "") -> str: ...
        >>> check_flags("phantom", phantom, ["--output_dir", "out", "--sitess=HK"])
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: unknown flag '--sitess' of phantom. Did you mean '--sites'? Known: ...
    """
    parameters = inspect.signature(run).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    flags, positional = _divided(arguments)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = [p.name for p in named]
        # Fire also takes --noflag for a switch
        taken = {*known, *(f"no{name}" for name in known)}
        for flag in flags:
            if flag not in taken:
                raise unknown_name("flag", f"--{flag}", [f"--{name}" for name in known], where=f"of {verb}")
    needed = [p.name for p in named if p.default is p.empty][positional:]
    missing = [f"--{name}" for name in needed if name not in flags]
    if missing:
        raise InputError(f"{verb} needs {' and '.join(missing)}; python -m akd_monai {verb} --help explains them.")


def _divided(arguments: Sequence[str]) -> tuple[list[str], int]:
    """Return the names of the flags, and how many arguments stand without a flag."""
    flags = []
    positional = 0
    is_value = False
    for argument in arguments:
        if argument == "--":
            break
        match = _FLAG.fullmatch(argument)
        if match:
            flags.append(match[1].replace("-", "_"))
            is_value = match[2] is None
        else:
            positional += not is_value
            is_value = False
    return flags, positional


def typed_values(arguments: Sequence[str]) -> dict[str, str]:
    """Return the value of each flag that has one, as typed.

    Example:
        >>> typed_values(["raw", "--size=64", "--sites", "HK", "--fix", "--seed", "-1"])
        {'size': '64', 'sites': 'HK', 'seed': '-1'}
    """
    found = {}
    flag = ""
    for argument in arguments:
        match = _FLAG.fullmatch(argument)
        if argument == "--":
            break
        if match is None:
            if flag:
                found[flag] = argument
            flag = ""
        elif match[2] is None:
            flag = match[1].replace("-", "_")
        else:
            found[match[1].replace("-", "_")] = match[2][1:]
            flag = ""
    return found
