# SPDX-License-Identifier: Apache-2.0
"""What a config would build, read completely and checked before anything of it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.reference_resolver import ReferenceResolver
from torch import nn

from akd_monai.bundle._allowed import is_loading_argument, network_class
from akd_monai.bundle._items import short
from akd_monai.errors import InputError

__all__ = ["Component", "read_plan"]

_TARGET = "_target_"
_KEYS = (_TARGET, "_desc_", "_disabled_")
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, eq=False)
class Component:
    """A network class on the list and its arguments.

    Args:
        target: its name, as the config has it.
        network: the class.
        arguments: plain values, lists and dictionaries of them, and further components.
    """

    target: str
    network: type[nn.Module]
    arguments: dict[str, Any]


def read_plan(config: ConfigParser, item: str, where: str) -> Any:
    """Return plain values and components of ``item`` and of all that it refers to; nothing is built, run or imported.

    What two places refer to is one object in the plan.

    Args:
        config: a config whose macros and relative references are replaced, see
            :func:`~akd_monai.bundle._resolved.resolved_config`.
        item: an id of it.
        where: how messages name the config.

    Raises:
        InputError: with code ``"untrusted"`` where code would run, a class is not on the list, or something is loaded; for
            a reference that leads nowhere or to itself.
    """
    try:
        return _Reader(config, where).item(item)
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply", remedy="write it with fewer levels") from error


class _Reader:
    def __init__(self, config: ConfigParser, where: str) -> None:
        self._config = config
        self._where = where
        self._done: dict[str, Any] = {}
        self._open: list[str] = []

    def item(self, name: str) -> Any:
        """Return the plan of the item with this id."""
        if name not in self._config:
            place = self._open[-1] if self._open else "it"
            raise InputError(
                f"{self._where} refers to {name!r} in {place!r}, which does not exist", remedy="correct the reference"
            )
        return self._item(name, self._config[name])

    def _item(self, name: str, content: Any) -> Any:
        if name in self._done:
            return self._done[name]
        if name in self._open:
            raise InputError(f"{self._where} has {name!r} refer to itself", remedy="correct the reference")
        self._open.append(name)
        self._done[name] = self._value(name, content)
        self._open.pop()
        return self._done[name]

    def _value(self, name: str, content: Any) -> Any:
        if isinstance(content, str):
            return self._text(name, content)
        if isinstance(content, list):
            return [value for _, value in self._parts(name, content)]
        if isinstance(content, dict):
            return self._mapping(name, content)
        if type(content) not in _PLAIN:
            raise self._refusal(f"a value of type {type(content).__name__} in {name!r}, which is no plain value")
        return content

    def _text(self, name: str, content: str) -> Any:
        if content.startswith(("$", "%")):
            raise self._refusal(f"the expression {short(content)} in {name!r}, which would run as code")
        references = list(ReferenceResolver.match_refs_pattern(content))
        return self.item(references[0]) if references else content

    def _mapping(self, name: str, content: dict[Any, Any]) -> Any:
        for key in content:
            if not isinstance(key, str):
                raise self._refusal(f"the key {key!r} in {name!r}, which is no string")
        if _TARGET in content:
            return self._component(name, content)
        return dict(self._parts(name, content))

    def _component(self, name: str, content: dict[str, Any]) -> Component | None:
        target = content[_TARGET]
        network = network_class(target)
        if network is None:
            raise self._refusal(
                f"the target {short(target)} in {name!r}, which is no network class on the list of torch.nn, MONAI and "
                "akd_monai",
                remedy="name one",
            )
        for key in content:
            if key.startswith("_") and key not in _KEYS:
                raise self._refusal(f"{key!r} in {name!r}, which changes how {short(target)} is run")
        values = dict(self._parts(name, content))
        self._check_loading(name, values)
        disabled = values.get("_disabled_", False)
        if not isinstance(disabled, (bool, str)):
            raise self._refusal(f"'_disabled_' in {name!r}, which must be true or false")
        if str(disabled).strip().lower() == "true":
            return None
        arguments = {key: value for key, value in values.items() if key not in _KEYS}
        return Component(target, network, arguments)

    def _check_loading(self, name: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            if is_loading_argument(key) and value is not None and value is not False:
                raise self._refusal(f"{key!r} in {name!r}, which would load or download something")

    def _parts(self, name: str, content: Any) -> Iterator[tuple[Any, Any]]:
        for key, place, part in ReferenceResolver.iter_subconfigs(name, content):
            value = self._item(place, part)
            # as in MONAI, what is disabled is no argument at all
            if not (value is None and isinstance(part, dict)):
                yield key, value

    def _refusal(self, what: str, remedy: str = "write a plain value") -> InputError:
        return InputError(f"{self._where} has {what}", remedy=remedy, code="untrusted")
