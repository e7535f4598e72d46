# SPDX-License-Identifier: Apache-2.0
"""Every value of a config with its id, as MONAI counts ids, and how a value is shown in a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver

__all__ = ["config_items", "config_texts", "short"]

_LONGEST = 120


def config_items(content: Any, *, with_metadata: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield every value of a config with its id, a section before what it holds.

    No recursion: a hostile config may be deeper than Python's stack.

    Args:
        content: of a config, or a part of it.
        with_metadata: whether to read what MONAI keeps of ``metadata.json`` too, which is text.

    Example:
        >>> list(config_items({"a": [1, {"b": 2}]}))[1:]
        [('a', [1, {'b': 2}]), ('a::0', 1), ('a::1', {'b': 2}), ('a::1::b', 2)]
    """
    todo = [("", content)]
    while todo:
        place, value = todo.pop()
        yield place, value
        if isinstance(value, (dict, list)):
            parts = [(name, part) for _, name, part in ReferenceResolver.iter_subconfigs(place, value)]
            todo.extend(part for part in reversed(parts) if with_metadata or part[0] != ConfigParser.meta_key)


def config_texts(content: Any) -> Iterator[str]:
    """Yield every string among the values of a config."""
    yield from (value for _, value in config_items(content) if isinstance(value, str))


def short(value: object) -> str:
    """Return a value as Python writes it, cut to what a message can hold."""
    written = repr(value)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 3]}..."
