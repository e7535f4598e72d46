# SPDX-License-Identifier: Apache-2.0
"""Handlers of a student that need TensorBoard, told before the run begins where it is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.errors import InputError

__all__ = ["check_tensorboard"]

_PACKAGE = "tensorboard"
_HANDLERS = ("TensorBoardHandler", "TensorBoardStatsHandler", "TensorBoardImageHandler")


def check_tensorboard(parser: ConfigParser, *, leave_out: bool) -> list[str]:
    """Refuse handlers that write to TensorBoard where it cannot be imported, or switch them off.

    Args:
        parser: the student's config, parsed or not.
        leave_out: switch them off in place of refusing them.

    Returns:
        The ids of the handlers that were switched off.

    Raises:
        InputError: naming the first handler, how to install TensorBoard, and how to do without.
    """
    if importlib.util.find_spec(_PACKAGE) is not None:
        return []
    found = [name for name, value in _components("", parser.get()) if _needs_it(parser, name, value)]
    if found and not leave_out:
        target = parser.get(f"{found[0]}#_target_")
        raise InputError(
            f"the student's handler {target} ({found[0]}) needs tensorboard, which is not installed",
            remedy="install it (pip install tensorboard), or leave such handlers out (--allow tensorboard)",
            code="tensorboard",
        )
    for name in found:
        parser[f"{name}#_disabled_"] = True
    return found


def _needs_it(parser: ConfigParser, name: str, component: Mapping[str, Any]) -> bool:
    if str(component["_target_"]).rpartition(".")[2] not in _HANDLERS:
        return False
    disabled = component.get("_disabled_", False)
    if isinstance(disabled, str) and disabled.startswith(("$", "@")):
        disabled = parser.get_parsed_content(f"{name}#_disabled_")
    return str(disabled).lower() != "true"


def _components(place: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield place, value
        parts = [(str(name), part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(str(number), part) for number, part in enumerate(value)]
    else:
        return
    for name, part in parts:
        if name != ConfigParser.meta_key:
            yield from _components(f"{place}#{name}" if place else name, part)
