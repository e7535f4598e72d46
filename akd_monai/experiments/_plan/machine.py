# SPDX-License-Identifier: Apache-2.0
"""The file that says on which cluster the cells of an experiment run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from akd_monai.errors import InputError, check_mapping, one_line, unknown_name
from akd_monai.files import as_path, read_json

__all__ = ["make_named", "make_with", "read_machine"]

_WHERE = "machine file"
_SIZES = {
    "options": ("nodes_per_block", "max_blocks"),
    "executor": ("available_accelerators", "max_workers_per_node"),
}


def read_machine(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``{"provider": "SlurmProvider", "options": {...}, "executor": {...}}``; all names in it are Parsl's.

    Args:
        path: a JSON file; ``options`` are arguments of the provider, ``executor`` of Parsl's ``HighThroughputExecutor``.

    Raises:
        InputError: if it is no such file.
        UnknownNameError: for another key.
    """
    path = as_path(path, "machine")
    where = f"machine file {str(path)!r}"
    content = check_mapping(where, read_json(path), ("provider", "options", "executor"))
    if not isinstance(content.get("provider"), str):
        raise InputError("has no provider", where=where, remedy="name one of Parsl, for instance 'SlurmProvider'")
    for name in ("options", "executor"):
        if not isinstance(content.setdefault(name, {}), dict):
            raise InputError(f"{name} must be an object, got {content[name]!r}", where=where)
    _check_sizes(content, where)
    return content


def _check_sizes(content: Mapping[str, Any], where: str) -> None:
    """Refuse sizes of which no number of cells at the same time follows."""
    for part, names in _SIZES.items():
        for name in names:
            value = content[part].get(name)
            is_list = name == "available_accelerators" and isinstance(value, list) and len(value) > 0
            is_size = type(value) is int and value >= 1
            if value is not None and not is_size and not is_list:
                wanted = "an integer of at least 1" + (", or a list" if name == "available_accelerators" else "")
                raise InputError(f"{name} must be {wanted}, got {value!r}", where=where)


def make_named(kind: str, name: str, module: ModuleType, options: Mapping[str, Any]) -> Any:
    """Make an object of a class that a module lists, such as a provider.

    Args:
        kind: end of the names of the classes, such as ``"Provider"``.
        name: of the class.
        module: whose ``__all__`` lists the classes.
        options: arguments of the class.

    Raises:
        InputError: if an option does not fit.
        UnknownNameError: for a name or an option that does not exist.
    """
    known = sorted({entry for entry in module.__all__ if entry.endswith(kind)})
    if name not in known:
        raise unknown_name(kind.lower(), name, known, where=f"in the {_WHERE}")
    return make_with(getattr(module, name), options)


def make_with(made: Any, options: Mapping[str, Any], **own: Any) -> Any:
    """Make an object of a class from what a machine file says.

    Args:
        made: the class.
        options: arguments from the file; JSON has no tuples, so that a list within a list, or one that ends a name in
            ``_range``, is given as one.
        own: arguments that the file cannot give.

    Raises:
        InputError: if an option does not fit.
        UnknownNameError: for an option that does not exist.
    """
    if not isinstance(options, Mapping):
        raise InputError(f"options of {made.__name__} must be an object, got {options!r}", where=_WHERE)
    known = [name for name in inspect.signature(made).parameters if name not in own]
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known, where=f"of {made.__name__} in the {_WHERE}")
    try:
        return made(**{name: _as_given(name, value) for name, value in options.items()}, **own)
    except Exception as error:
        missing = getattr(error, "module_names", ())
        remedy = f"python -m pip install {' '.join(missing)}" if missing else ""
        raise InputError(
            f"does not fit {made.__name__} of Parsl: {one_line(error)}", where=_WHERE, remedy=remedy
        ) from error


def _as_given(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    entries = [tuple(entry) if isinstance(entry, list) else entry for entry in value]
    return tuple(entries) if name.endswith("_range") else entries
