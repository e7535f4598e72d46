# SPDX-License-Identifier: Apache-2.0
"""The terms of an overlay: by name, whichever form it gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._student import has_id
from akd_monai.errors import unknown_name

__all__ = ["left_out_terms", "name_terms", "set_option", "with_named_terms"]

_LAMBDA = "lambda_"
# weights of what is no term of the criterion
_NO_TERMS = ("task", "unlabelled")
_TERMS = "distillation#terms"
_NUMBERED = re.compile(r"distillation(?:#|::)terms(?:#|::)\d")
_TARGET = "_target_"


def left_out_terms(
    parser: ConfigParser, terms: str | Sequence[str] | None, without: Sequence[str] = ()
) -> dict[str, float]:
    """Return a weight of 0 for each term that is not wanted.

    Args:
        parser: the configs, merged.
        terms: names of those that are wanted; all by default.
        without: terms that a recipe has turned off.

    Raises:
        UnknownNameError: for a term that the overlay does not have.
    """
    if terms is None:
        return {}
    named = [name.removeprefix(_LAMBDA) for name in parser.get() if name.startswith(_LAMBDA)]
    known = [name for name in named if name not in (*_NO_TERMS, *without)]
    names = terms.split(",") if isinstance(terms, str) else terms
    wanted = [str(name).strip() for name in names]
    for name in wanted:
        if name not in known:
            raise unknown_name("loss", name, known, where="in this overlay")
    return {f"{_LAMBDA}{name}": 0.0 for name in known if name not in wanted}


def name_terms(parser: ConfigParser) -> None:
    """Turn a list of terms into a mapping by name, so that each value has an id such as that of a temperature.

    A list stays one where something refers to its numbers.
    """
    terms = parser.get(_TERMS) if has_id(parser, _TERMS) else None
    if not isinstance(terms, list) or not all(isinstance(term, dict) and "name" in term for term in terms):
        return
    names = [str(term["name"]) for term in terms]
    if len(set(names)) < len(names) or _NUMBERED.search(json.dumps(parser.get(), default=str)):
        return
    named = {}
    for name, term in zip(names, terms, strict=True):
        named[name] = {key: value for key, value in term.items() if key != "name"}
    parser[_TERMS] = named


def with_named_terms(parser: ConfigParser, override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``override`` in which a term that is given by its number in the list has its name.

    Example:
        >>> parser = ConfigParser({"distillation": {"terms": {"logits": {}, "gram": {}}}})
        >>> with_named_terms(parser, {"distillation#terms#1#weight": 0.5, "epochs": 3})
        {'distillation#terms#gram#weight': 0.5, 'epochs': 3}
    """
    terms = parser.get(_TERMS) if has_id(parser, _TERMS) else None
    if not isinstance(terms, dict):
        return dict(override)
    names = list(terms)
    renamed = {}
    for name, value in override.items():
        parts = name.replace("::", "#").split("#")
        is_numbered = parts[:2] == _TERMS.split("#") and len(parts) > 2 and parts[2].isdigit()
        if is_numbered and parts[2] not in names and int(parts[2]) < len(names):
            parts[2] = names[int(parts[2])]
            name = "#".join(parts)
        renamed[name] = value
    return renamed


def set_option(parser: ConfigParser, losses: Sequence[str], option: str, value: Any) -> None:
    """Give an option to every term whose loss is one of ``losses``, names or classes, unless it is set there.

    Args:
        parser: the config, merged.
        losses: name in the registry or class of each.
        option: name of the argument.
        value: its value.
    """
    terms = parser.get(_TERMS) if has_id(parser, _TERMS) else None
    entries = list(terms.values()) if isinstance(terms, dict) else terms
    for term in entries if isinstance(entries, list) else ():
        loss = term.get("loss") if isinstance(term, dict) else None
        if isinstance(loss, dict) and str(loss.get(_TARGET)).rpartition(".")[2] in losses:
            loss.setdefault(option, value)
        elif isinstance(loss, str) and loss in losses:
            term.setdefault("options", {}).setdefault(option, value)
