# SPDX-License-Identifier: Apache-2.0
"""JSON files of a user, read with a message for whatever is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError, one_line

__all__ = ["read_json"]


def read_json(
    path: str | os.PathLike[str],
    *,
    kind: type = dict,
    remedy: str = "correct or replace the file",
) -> Any:
    """Return the content of a JSON file, in no object of which a key comes twice.

    Args:
        path: the file.
        kind: type that the top level must have, ``dict`` or ``list``; ``object`` takes any.
        remedy: what to do about a damaged file.

    Raises:
        InputError: if the file cannot be opened, is no JSON (naming line and column), holds another type, or repeats a key
            in an object, of which Python would keep the last and drop the others without a word.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.json").write_text('{"a": 1,}')
        ...     read_json(Path(folder) / "a.json")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: ...a.json: is no valid JSON (... line 1 column 9 ...); correct or replace the file.
    """
    where = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_repetition)
    except _RepeatedError as error:
        what = f"has the key {error} twice in one object, of which the first would have no effect"
        raise InputError(what, where=where, remedy=remedy, code="json") from None
    except OSError as error:
        raise InputError(
            f"cannot be opened ({error.strerror})", where=where, remedy="check path and permissions"
        ) from error
    except RecursionError:
        raise InputError("is no valid JSON (nested too deeply)", where=where, remedy=remedy, code="json") from None
    except ValueError as error:
        raise InputError(f"is no valid JSON ({one_line(error)})", where=where, remedy=remedy, code="json") from error
    if not isinstance(content, kind):
        wanted = {"dict": "an object", "list": "a list"}.get(kind.__name__, kind.__name__)
        what = f"must hold {wanted} at its top level, got {type(content).__name__}"
        raise InputError(what, where=where, remedy=remedy, code="json")
    return content


class _RepeatedError(ValueError):
    """A key comes twice in an object."""


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _RepeatedError(repr(key))
        content[key] = value
    return content
