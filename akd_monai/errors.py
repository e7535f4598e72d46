# SPDX-License-Identifier: Apache-2.0
"""Errors that name a user's mistake and its remedy in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class InputError(ValueError):
    """A mistake in data, configuration or bundle; the command line shows its text alone and exits with 2."""


class UnknownNameError(InputError, KeyError):
    """A name that does not exist: a loss, a layer, a site, a config key."""

    # KeyError shows repr(message); a sentence should be readable as it is.
    __str__ = Exception.__str__


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return a hint with up to three known names that resemble ``name``, or an empty string.

    Example:
        >>> near_matches("afinity", ["affinity", "gram", "logits"])
        " Did you mean 'affinity'?"
    """
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {', '.join(repr(c) for c in close)}?" if close else ""


def check_mapping(what: str, given: Any, known: Iterable[str]) -> dict[str, Any]:
    """Return a mapping of a config as a dictionary, if it has known names only.

    Raises:
        InputError: if it is no mapping.
        UnknownNameError: if it has another name.

    Example:
        >>> check_mapping("options", {"sise": 3}, ["size"])
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: options has no 'sise'. Did you mean 'size'? Known: size.
    """
    names = list(known)
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be a mapping, got {type(given).__name__}.")
    for name in given:
        if name not in names:
            hint = near_matches(str(name), names)
            raise UnknownNameError(f"{what} has no {name!r}.{hint} Known: {', '.join(names)}.")
    return dict(given)
