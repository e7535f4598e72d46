# SPDX-License-Identifier: Apache-2.0
"""A config whose macros and relative references are replaced, as MONAI replaces them; nothing of it is run."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.errors import InputError, one_line

__all__ = ["resolved_config"]

# a few lines of macros or of YAML's anchors can stand for more values than any memory holds
_MOST_VALUES = 1_000_000


def resolved_config(parser: ConfigParser, where: str) -> ConfigParser:
    """Return a copy of a config in which every ``%...``, ``@#...`` and ``@::...`` is replaced, once, as MONAI does it.

    Metadata stays as it is: it is text, which may begin with any sign.

    Args:
        parser: the config, as read.
        where: how messages name it.

    Raises:
        InputError: if a macro cannot be resolved, or the config grows beyond a million values.
    """
    try:
        resolved = _TextMetadata(deepcopy(parser.get()))
        resolved.resolve_macro_and_relative_ids()
    except InputError as error:
        raise InputError(f"{where} {error.what}", remedy=error.remedy) from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply", remedy="write it with fewer levels") from error
    except Exception as error:
        # which class it is depends on the macro: a missing file, a missing id, a broken YAML
        what = f"{where} has a macro or relative reference that cannot be resolved ({one_line(error)})"
        raise InputError(what, remedy="correct it") from error
    return resolved


class _TextMetadata(ConfigParser):
    """A parser that leaves metadata alone and stops at a config that grows without bound."""

    def __init__(self, config: Any) -> None:
        self._values_left = _MOST_VALUES
        super().__init__(config, globals=False)

    def _do_resolve(self, config: Any, id: str = "") -> Any:  # noqa: A002 - MONAI's name
        if id == self.meta_key:
            return config
        resolved = super()._do_resolve(config, id)
        self._spend(resolved if isinstance(config, str) else None)
        return resolved

    def _spend(self, content: Any) -> None:
        todo = [content]
        while todo:
            part = todo.pop()
            self._values_left -= 1
            if self._values_left < 0:
                raise InputError(f"stands for more than {_MOST_VALUES:,} values", remedy="write fewer macros")
            if isinstance(part, (dict, list)):
                todo.extend(part.values() if isinstance(part, dict) else part)
