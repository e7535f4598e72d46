# SPDX-License-Identifier: Apache-2.0
"""Recipes: named sets of config ids for a distillation, one JSON file each."""

from __future__ import annotations

from pathlib import Path

from akd_monai.bundle._recipes import SENTENCE, read_recipe, shipped_recipes
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path

__all__ = ["list_recipes", "recipe_path"]


def list_recipes() -> dict[str, str]:
    """Return what each recipe of this package is, by its name, in one sentence.

    Example:
        >>> list_recipes()["paper"]
        'The three terms of the method with the weights that its paper gives: the defaults of every distillation.'
    """
    found = {}
    for name, path in shipped_recipes().items():
        found[name] = str(read_recipe(path)[SENTENCE])
    return found


def recipe_path(recipe: str | Path) -> Path:
    """Return the file of a recipe, one more config file of ``python -m monai.bundle run``, after the overlay.

    Args:
        recipe: a name of :func:`list_recipes`, or a file of your own, ``.json`` or YAML.

    Raises:
        UnknownNameError: if it is neither.
        InputError: if it is a folder, or no name or path at all.

    Example:
        >>> recipe_path("emkd").name
        'emkd.json'
    """
    shipped = shipped_recipes()
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    path = as_path(recipe, "recipe")
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"recipe {str(recipe)!r} is a folder", remedy="give a file in it, JSON or YAML")
    remedy = "Or give a JSON file of config ids; python -m akd_monai recipes lists what each is"
    raise unknown_name("recipe", str(recipe), shipped, remedy=remedy)
