# SPDX-License-Identifier: Apache-2.0
"""Configs of a bundle read as data: macros and references are followed, nothing of them is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._configs import config_path, merged_configs, with_common
from akd_monai.bundle._items import config_items
from akd_monai.bundle._resolved import resolved_config
from akd_monai.errors import InputError

__all__ = ["UNKNOWN", "StaticConfig", "Unknown", "components", "read_static", "try_static"]

_REFERENCE = re.compile(r"@([\w#:]+)")
# what refers to itself ends here
_DEEPEST = 30


class Unknown:
    """What a config says can only be known by running it."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        return False


UNKNOWN = Unknown()


@dataclass(frozen=True)
class StaticConfig:
    """A config whose macros are replaced, and whose references can be followed.

    Args:
        name: the names of the files merged into it, for messages.
        parser: the config, macros replaced.
    """

    name: str
    parser: ConfigParser

    def get(self, place: str) -> Any:
        """Return the value at an id with every reference followed, or ``UNKNOWN`` if there is none or it must be run.

        Example:
            >>> given = {"size": [96, 96], "a": [1], "b": "$@a + [2]", "crop": {"roi": "@size"}, "code": "$f(@a)"}
            >>> config = StaticConfig("train.json", ConfigParser(given))
            >>> config.get("crop#roi"), config.get("b"), config.get("code"), config.get("nothing")
            ([96, 96], [1, 2], UNKNOWN, UNKNOWN)
        """
        return self._at(place, _DEEPEST)

    def follow(self, value: Any) -> Any:
        """Return a value of the config with every reference in it followed; ``UNKNOWN`` in place of what must be run."""
        return self._follow(value, _DEEPEST)

    def _at(self, place: str, left: int) -> Any:
        try:
            return self._follow(self.parser[place.replace("::", "#")], left)
        except (KeyError, IndexError, TypeError, ValueError):
            return UNKNOWN

    def _follow(self, value: Any, left: int) -> Any:
        if left == 0:
            return UNKNOWN
        if isinstance(value, list):
            return [self._follow(part, left - 1) for part in value]
        if isinstance(value, Mapping):
            return {name: self._follow(part, left - 1) for name, part in value.items()}
        if isinstance(value, str):
            return self._text(value, left - 1)
        return value

    def _text(self, value: str, left: int) -> Any:
        if value.startswith("$"):
            return self._expression(value[1:].strip(), left)
        match = _REFERENCE.fullmatch(value)
        return self._at(match[1], left) if match else value

    def _expression(self, code: str, left: int) -> Any:
        """Return the value of a literal, a reference, or a sum of lists of them: what needs no running."""
        ids = list(dict.fromkeys(_REFERENCE.findall(code)))
        for number, place in enumerate(ids):
            code = re.sub(rf"@{re.escape(place)}(?![\w#:])", f"_reference_{number}", code)
        try:
            tree = ast.parse(code, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return UNKNOWN
        values = {f"_reference_{number}": self._at(place, left) for number, place in enumerate(ids)}
        return _evaluated(tree, values)


def _evaluated(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return values.get(node.id, UNKNOWN)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left = _evaluated(node.left, values)
        right = _evaluated(node.right, values)
        return [*left, *right] if isinstance(left, list) and isinstance(right, list) else UNKNOWN
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "tuple"):
        given = [_evaluated(part, values) for part in node.args]
        return list(given[0]) if len(given) == 1 and isinstance(given[0], list) and not node.keywords else UNKNOWN
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_evaluated(part, values) for part in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return UNKNOWN


def read_static(bundle_dir: str | Path, *names: str, override: Mapping[str, Any] | None = None) -> StaticConfig | None:
    """Return configs of a bundle merged in order and resolved, or ``None`` if one of them does not exist.

    Args:
        bundle_dir: the bundle's folder.
        names: names without suffix, such as ``"train"``, ``"evaluate"``.
        override: values by id that a run sets; ids that these configs do not have are left out.

    Raises:
        InputError: if the folder is no bundle, or a config is broken.
    """
    paths: list[Path] = []
    for name in names:
        path = config_path(bundle_dir, name)
        if path is None:
            return None
        # the shared one before the first
        paths += [path] if paths else with_common(bundle_dir, path)
    label = " with ".join(path.name for path in paths if path.stem in names)
    config = merged_configs(paths)
    config.update({place: value for place, value in (override or {}).items() if place in config})
    return StaticConfig(label, resolved_config(config, f"{label} of bundle {str(bundle_dir)!r}"))


def try_static(bundle_dir: str | Path, *names: str, override: Mapping[str, Any] | None = None) -> StaticConfig | None:
    """Return what :func:`read_static` does, or ``None`` where a config cannot be read."""
    try:
        return read_static(bundle_dir, *names, override=override)
    except InputError:
        return None


def components(config: StaticConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the id and the content of every mapping of a config that has a ``_target_``.

    Example:
        >>> config = StaticConfig("train.json", ConfigParser({"a": [{"_target_": "Flipd", "keys": "image"}]}))
        >>> list(components(config))
        [('a#0', {'_target_': 'Flipd', 'keys': 'image'})]
    """
    for name, content in config_items(config.parser.get()):
        if isinstance(content, Mapping) and isinstance(content.get("_target_"), str):
            yield name.replace("::", "#"), content
