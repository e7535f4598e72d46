# SPDX-License-Identifier: Apache-2.0
"""Whether a bundle's ``logging.conf`` can be read; what it says is not run."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from pathlib import Path

from akd_monai.bundle._problems import Problem
from akd_monai.errors import one_line

__all__ = ["logging_problems"]

_LISTS = {"loggers": "logger", "handlers": "handler", "formatters": "formatter"}


def logging_problems(path: Path) -> Iterator[Problem]:
    """Yield what ``logging.config.fileConfig``, which MONAI calls, would fail at; nothing is wrong without the file."""
    if not path.exists():
        return
    # as the module logging.config reads it
    parser = configparser.ConfigParser(None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        yield from (Problem(f"{path.name} {problem}") for problem in _missing(parser))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        yield Problem(f"{path.name} cannot be read ({one_line(error)})")


def _missing(parser: configparser.ConfigParser) -> Iterator[str]:
    for name, prefix in _LISTS.items():
        if not parser.has_option(name, "keys"):
            yield f"has no [{name}] with 'keys'"
            continue
        wanted = [key.strip() for key in parser.get(name, "keys", raw=True).split(",")]
        for key in wanted:
            if key and not parser.has_section(f"{prefix}_{key}"):
                yield f"names {key!r} in [{name}] but has no [{prefix}_{key}]"
