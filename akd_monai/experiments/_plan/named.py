# SPDX-License-Identifier: Apache-2.0
"""Recipes and baselines that an experiment's file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from akd_monai.bundle import list_recipes
from akd_monai.errors import InputError, unknown_name

__all__ = ["find_baseline", "find_recipe"]


def find_recipe(name: Any, beside: Path, where: str) -> str | None:
    """Return the name of a recipe of the package as it is, or the path of a file, relative to ``beside``, in full.

    Raises:
        InputError: if it is no string.
        UnknownNameError: if there is neither.
    """
    if name is None:
        return None
    _check_string("recipe", name, where)
    file = (beside / Path(name).expanduser()).resolve()
    if name in list_recipes():
        return str(name)
    if not file.is_file():
        raise unknown_name("recipe", name, list_recipes(), where=where, remedy="Give one of these, or a JSON file")
    return str(file)


def find_baseline(name: Any, where: str) -> str | None:
    """Return the name of a baseline of domain generalisation.

    Raises:
        InputError: if it is no string.
        UnknownNameError: if there is none of that name.
    """
    if name is None:
        return None
    _check_string("generalise", name, where)
    # imports the transforms that the baselines add
    from akd_monai.generalisation import baseline_names

    if name not in baseline_names():
        raise unknown_name("baseline", name, baseline_names(), where=where)
    return str(name)


def _check_string(key: str, name: Any, where: str) -> None:
    if not isinstance(name, str) or not name:
        raise InputError(f"{key} {where} must be a name, got {name!r}")
