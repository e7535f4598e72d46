# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a student's training stand in its config: trainer, handlers, and what starts the run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import TrainProperties
from monai.utils import BundlePropertyConfig

from akd_monai.bundle._items import config_items
from akd_monai.errors import InputError, unknown_name

__all__ = ["find_handlers", "find_run", "find_trainer", "has_id", "with_own_ids"]

_USUAL = str(TrainProperties["trainer"][BundlePropertyConfig.ID]).replace("::", "#")
_RUN = "run"
_HANDLERS = "train_handlers"
# arguments that only a trainer has
_ARGUMENTS = {"train_data_loader", "optimizer"}
# what an overlay of this package calls the two
_OVERLAY_HANDLERS = "train#handlers"


def find_trainer(parser: ConfigParser) -> str:
    """Return the id of a config's trainer: that of MONAI's properties, else ``trainer``, else the only trainer there is.

    Args:
        parser: the config of a training, merged with nothing that is not the student's.

    Raises:
        InputError: if there is no trainer, or there are several.

    Example:
        >>> find_trainer(ConfigParser({"trainer": {"_target_": "SupervisedTrainer", "max_epochs": 1}}))
        'trainer'
    """
    for name in (_USUAL, "trainer"):
        if has_id(parser, name):
            return _followed(parser, name)
    mappings = [(name, value) for name, value in config_items(parser.get()) if isinstance(value, Mapping)]
    known = [name for name, value in mappings if "_target_" in value and value.keys() >= _ARGUMENTS]
    found = [name.replace("::", "#") for name in known]
    if len(found) == 1:
        return found[0]
    what = f"several trainers ({', '.join(found)})" if found else f"no trainer ({_USUAL} or trainer)"
    raise InputError(
        f"the student's train config has {what}, so it is not known what is to be extended by a teacher",
        remedy=f"name the student's trainer '{_USUAL}', as MONAI's bundle properties do, in an overlay",
    )


def find_handlers(parser: ConfigParser, trainer: str) -> str:
    """Return the id under which the list of the trainer's handlers stands, which need not exist yet.

    Example:
        >>> config = {"handlers": [], "trainer": {"train_handlers": "@handlers"}}
        >>> find_handlers(ConfigParser(config), "trainer")
        'handlers'
    """
    name = f"{trainer}#{_HANDLERS}"
    return _followed(parser, name) if has_id(parser, name) else name


def find_run(parser: ConfigParser, trainer: str, run_id: str | None = None) -> str:
    """Return the id of the expressions that run the trainer: ``run``, else the only ones that do.

    Args:
        parser: the student's config.
        trainer: id of its trainer.
        run_id: the id that a user gives in place of it.

    Raises:
        UnknownNameError: if ``run_id`` does not exist.
        InputError: if none is found, or several are.

    Example:
        >>> find_run(ConfigParser({"trainer": {}, "training": ["$@trainer.run()"]}), "trainer")
        'training'
    """
    if run_id is not None:
        if run_id not in parser:
            known = [str(name) for name in parser.get() if _starts(parser.get(name), trainer)]
            raise unknown_name("run_id", run_id, known, where="in the student's train config")
        return run_id
    if _RUN in parser:
        return _RUN
    found = [str(name) for name, value in parser.get().items() if _starts(value, trainer)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(found) if found else f"none calls @{trainer}.run()"
    raise InputError(
        f"the student's train config has no id 'run', and what else starts its training is not certain ({listed})",
        remedy="name the id with run_id",
    )


def with_own_ids(overlay: Mapping[str, Any], trainer: str, handlers: str) -> dict[str, Any]:
    """Return an overlay whose ids ``train#trainer`` and ``train#handlers`` are those of a student.

    Example:
        >>> with_own_ids({"train#trainer#seed": 0, "+train#handlers": []}, "trainer", "handlers")
        {'trainer#seed': 0, '+handlers': []}
    """
    places = {_USUAL: trainer, _OVERLAY_HANDLERS: handlers}
    return {_moved(str(name), places): value for name, value in overlay.items()}


def has_id(parser: ConfigParser, name: str) -> bool:
    """Return whether a config has an id; one that leads through a number or a string does not exist.

    Example:
        >>> has_id(ConfigParser({"train": "%other.json"}), "train#trainer")
        False
    """
    try:
        return name in parser
    except (KeyError, IndexError, TypeError, ValueError):
        return False


def _moved(name: str, places: Mapping[str, str]) -> str:
    sign = "+" if name.startswith("+") else ""
    plain = name.removeprefix("+").replace("::", "#")
    for old, new in places.items():
        if plain == old or plain.startswith(f"{old}#"):
            return f"{sign}{new}{plain[len(old) :]}"
    return name


def _followed(parser: ConfigParser, name: str) -> str:
    """Return the id that ``name`` stands for, when it only refers to another one."""
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        value = parser.get(name)
        match = re.fullmatch(r"[@%]([\w#:]+)", value) if isinstance(value, str) else None
        if match is None or not has_id(parser, match[1].replace("::", "#")):
            return name
        name = match[1].replace("::", "#")
    return name


def _starts(value: Any, trainer: str) -> bool:
    """Return whether an expression, or one of a list, runs the trainer."""
    expressions = value if isinstance(value, list) else [value]
    wanted = re.compile(rf"@{re.escape(trainer)}\s*\.\s*run\s*\(")
    texts = [text.replace("::", "#") for text in expressions if isinstance(text, str)]
    return any(wanted.search(text) for text in texts)
