# SPDX-License-Identifier: Apache-2.0
"""Read a recipe, and merge it into the configs of a distillation after the overlay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from akd_monai.bundle._configs import check_overrides, load_config
from akd_monai.bundle._override_values import check_values
from akd_monai.bundle._student import with_own_ids
from akd_monai.errors import InputError

__all__ = ["NEEDS", "SENTENCE", "Recipe", "read_recipe", "shipped_recipes"]

#: Entry of a recipe that says what it is.
SENTENCE = "_recipe_"
#: Entry of a recipe that names the ids which only its user can give, and what each stands for.
NEEDS = "_needs_"

_FOLDER = Path(__file__).with_name("recipes")
_LAMBDA = "lambda_"


def shipped_recipes() -> dict[str, Path]:
    """Return the files of this package's recipes by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.json"))}


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the content of a recipe's file.

    Raises:
        InputError: if it is broken, or has a needed id without a word on it.
    """
    content = load_config(path)
    needs = content.get(NEEDS, {})
    if not isinstance(needs, Mapping) or not all(isinstance(value, str) for value in needs.values()):
        what = f"{NEEDS!r} must say for each id what it stands for, got {needs!r}"
        raise InputError(what, where=str(path), remedy="correct the file")
    return content


class Recipe:
    """The ids of one recipe; without a file there are none.

    Args:
        path: its file.

    Attributes:
        ids: values by id, in the order of the file.
    """

    def __init__(self, path: Path | None = None) -> None:
        content = {} if path is None else read_recipe(path)
        self.path = path
        self.needs: dict[str, str] = content.pop(NEEDS, {})
        self.sentence = str(content.pop(SENTENCE, ""))
        self.ids: dict[str, Any] = content

    @property
    def left_out(self) -> list[str]:
        """The terms whose weight it sets to 0."""
        return [name.removeprefix(_LAMBDA) for name, value in self.ids.items() if _is_off(name, value)]

    def check_needs(self, given: Mapping[str, Any]) -> None:
        """Refuse a run whose user has not given what the recipe cannot hold; null says that it is meant to be left out.

        Raises:
            InputError: naming each id.
        """
        missing = [f"--{name} ({what})" for name, what in self.needs.items() if name not in given]
        if missing:
            raise InputError(
                f"needs {' and '.join(missing)}", where=f"recipe {self._name}", remedy="give it, or null to do without"
            )

    def merge(self, parser: ConfigParser, trainer: str, handlers: str, bundle_dir: Path) -> None:
        """Set each id as ``python -m monai.bundle run`` does for one more config file.

        Args:
            parser: the configs, the overlay included.
            trainer: id of the student's trainer.
            handlers: id of the list of its handlers.
            bundle_dir: the student's folder.

        Raises:
            UnknownNameError: for an id without effect: neither the configs nor another entry of the recipe know it.
            InputError: for a value of another kind than the id has.
        """
        used = _references(self.ids)
        for name, value in with_own_ids(self.ids, trainer, handlers).items():
            plain = name.removeprefix("+")
            try:
                if plain not in used or plain in parser:
                    check_overrides(parser, {plain: value})
                    check_values(parser, {plain: value}, bundle_dir)
                merge_kv(parser, name, value)
            except InputError as error:
                raise type(error)(f"recipe {self._name}: {error}", code=error.code) from error
            except (KeyError, IndexError, TypeError, ValueError) as error:
                what = f"cannot change {name!r} of the configs"
                raise InputError(
                    what, where=f"recipe {self._name}", remedy="correct the id", code="missed-id"
                ) from error

    @property
    def _name(self) -> str:
        if self.path is None:
            return ""
        return repr(self.path.stem if self.path.parent == _FOLDER else str(self.path))


def _is_off(name: str, value: Any) -> bool:
    return name.startswith(_LAMBDA) and isinstance(value, (int, float)) and value == 0


def _references(ids: Mapping[str, Any]) -> set[str]:
    """Return the ids of the first level to which values of a recipe refer."""
    return set(re.findall(r"[@%](\w+)", json.dumps(list(ids.values()), default=str)))
