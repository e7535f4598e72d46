# SPDX-License-Identifier: Apache-2.0
"""Targets, arguments and references of a config, checked without running anything of the bundle."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pydoc import ErrorDuringImport
from typing import Any

from monai.bundle import ComponentLocator
from monai.bundle.reference_resolver import ReferenceResolver

from akd_monai.bundle._configs import merged_configs
from akd_monai.bundle._installed import find_target, full_name
from akd_monai.bundle._items import config_items
from akd_monai.bundle._problems import Problem
from akd_monai.bundle._resolved import resolved_config
from akd_monai.errors import InputError, one_line

__all__ = ["config_problems"]

_Parameters = Mapping[str, inspect.Parameter]


def config_problems(paths: Sequence[Path], metadata: Mapping[str, Any], locator: ComponentLocator) -> Iterator[Problem]:
    """Yield what is wrong with the targets and references of configs merged in order, macros replaced.

    Targets outside the installed packages that this project stands on are left out: to see them is to import them.

    Args:
        paths: the configs.
        metadata: content of ``metadata.json``.
        locator: finds MONAI's components by their short names.
    """
    try:
        parser = resolved_config(merged_configs(paths, metadata), "it")
    except InputError as error:
        yield Problem(error.what.removeprefix("it has "))
        return
    for where, value in config_items(parser.get()):
        if isinstance(value, Mapping) and isinstance(value.get("_target_"), str):
            yield from _target_problems(where, value, locator, paths[0].parent.parent)
        elif isinstance(value, str) and not where.startswith("_meta_"):
            for reference in ReferenceResolver.match_refs_pattern(value):
                if reference not in parser:
                    yield Problem(f"{where} refers to {reference!r}, which does not exist")


def _target_problems(
    where: str, config: Mapping[str, Any], locator: ComponentLocator, bundle_dir: Path
) -> Iterator[Problem]:
    target = config["_target_"]
    try:
        is_known, found = find_target(full_name(target, locator), bundle_dir)
    except ErrorDuringImport as error:
        yield Problem(f"{where}: {target!r} fails when it is imported ({one_line(error)})")
        return
    if not is_known:
        return
    if found is None:
        yield Problem(f"{where}: {target!r} does not exist")
        return
    own = _parameters(found)
    if own is None:
        return
    known = own
    passes_on = _takes_any(own)
    if passes_on:
        known = {**own, **_inherited(found)}
    for argument in config:
        if not str(argument).startswith("_") and argument not in known:
            # a constructor need not pass on to its base what it does not know
            where_else = " of its own" if passes_on else ""
            told = f"{where}: {target!r} has no argument {argument!r}{where_else}"
            yield Problem(told, "warning" if passes_on else "error")


def _parameters(target: Any) -> _Parameters | None:
    """Return the parameters of a class or function, or None where it takes more than can be known."""
    try:
        own = inspect.signature(target).parameters
        known = own if not _takes_any(own) else _inherited(target)
    except (TypeError, ValueError):
        return None
    return own if known and not _takes_any(known) else None


def _inherited(target: Any) -> _Parameters:
    """Return the parameters that a class passes on to its bases by ``**kwargs``; none where they do not end there."""
    known: dict[str, inspect.Parameter] = {}
    for base in inspect.getmro(target)[:-1] if inspect.isclass(target) else ():
        if "__init__" not in vars(base):
            continue
        own = dict(inspect.signature(vars(base)["__init__"]).parameters)
        passes_on = _takes_any(own)
        known |= {name: one for name, one in own.items() if one.kind is not inspect.Parameter.VAR_KEYWORD}
        if not passes_on:
            return known
    return {}


def _takes_any(parameters: _Parameters) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
