# SPDX-License-Identifier: Apache-2.0
"""Keep the home folder and the name of the user out of what is passed on."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["map_strings", "runnable_without_home", "without_home"]

# an account that many machines have tells of nobody
_NOBODY = {"root", ""}
_NAME = r"[\w.-]"
_HOME_EXPRESSION = "__import__('os').path.expanduser('~')"


def without_home(text: str, home: str = "~") -> str:
    """Return ``text`` with ``home`` for the home folder, and ``<user>`` for any other folder named after the user.

    Args:
        text: a path, a URI, a command or a message.
        home: what stands for the home folder; ``"$HOME"`` in a command.

    Example:
        >>> without_home(f"sqlite:///{Path.home()}/runs/mlruns.db")
        'sqlite:///~/runs/mlruns.db'
        >>> without_home("/data/I2CVB/Case00.nii.gz")
        '/data/I2CVB/Case00.nii.gz'
    """
    for folder in _homes():
        text = _pattern(folder).sub(lambda _: home, text)
    for user in _users():
        text = re.sub(rf"(?<=[\\/]){re.escape(user)}(?!{_NAME})", "<user>", text)
    return text


def runnable_without_home(text: str) -> str:
    """Return a string of a config that means the same without naming the home folder; others stay as they are.

    An expression, which begins with ``$``, only has the folder replaced by ``~``.

    Example:
        >>> runnable_without_home(f"{Path.home()}/data")
        "$__import__('os').path.expanduser('~') + '/data'"
        >>> runnable_without_home("/data")
        '/data'
    """
    if text.startswith("$"):
        for folder in _homes():
            text = _pattern(folder).sub("~", text)
        return text
    for folder in _homes():
        parts = _pattern(folder).split(text)
        if len(parts) > 1:
            joined = f" + {_HOME_EXPRESSION} + ".join(repr(part) for part in parts)
            return "$" + joined.removeprefix("'' + ").removesuffix(" + ''")
    return text


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Return nested values with ``change`` of every string in them; keys stay as they are.

    Example:
        >>> map_strings({"a": ["x", 1]}, str.upper)
        {'a': ['X', 1]}
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_strings(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_strings(item, change) for item in value]
    return value


def _homes() -> list[str]:
    """Return the spellings of the home folder, the longest first."""
    found = set()
    for shown in ("~", f"~{_login()}"):
        try:
            folder = Path(shown).expanduser()
        except RuntimeError:
            continue
        for path in (folder, folder.resolve()):
            if path.is_absolute() and path != Path(path.anchor):
                found |= {str(path), quote(path.as_posix()), path.as_posix()}
    return sorted(found, key=len, reverse=True)


def _users() -> list[str]:
    names = {_login(), *(Path(home).name for home in _homes())}
    return sorted(names - _NOBODY, key=len, reverse=True)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _pattern(folder: str) -> re.Pattern[str]:
    # not the beginning of another name, and not the end of a longer path
    return re.compile(rf"(?<!{_NAME}){re.escape(folder)}(?!{_NAME})")
