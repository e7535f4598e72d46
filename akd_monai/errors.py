# SPDX-License-Identifier: Apache-2.0
"""Errors that name a user's mistake and its remedy in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
