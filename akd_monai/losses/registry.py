# SPDX-License-Identifier: Apache-2.0
"""Names of the losses, for configs and the command line.

Another package adds a loss by an entry point, read only when its name is asked for:

.. code-block:: toml

    [project.entry-points."akd_monai.losses"]
    attention = "their_package.losses:AttentionLoss"
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from monai.utils import ComponentStore
from torch import nn

from akd_monai.errors import InputError, UnknownNameError, near_matches
from akd_monai.losses.affinity import AdaptiveAffinityLoss
from akd_monai.losses.gram import GramKernelLoss
from akd_monai.losses.logits import LogitsKLLoss

ENTRY_POINTS = "akd_monai.losses"

LOSSES = ComponentStore("Distillation losses", "Classes whose instances compare (student, teacher) maps.")
LOSSES.add("affinity", "Neighbouring pixels follow the borders the teacher sees.", AdaptiveAffinityLoss)
LOSSES.add("gram", "Similarities of samples, channels or pixels follow the teacher's.", GramKernelLoss)
LOSSES.add("logits", "Class probabilities follow the teacher's.", LogitsKLLoss)


def loss_names() -> list[str]:
    """Return the names of all losses, those of other packages included, sorted.

    Example:
        >>> [name for name in loss_names() if name in ("affinity", "gram", "logits")]
        ['affinity', 'gram', 'logits']
    """
    return sorted({*LOSSES.names, *_plugins()})


def get_loss(name: str, **options: Any) -> nn.Module:
    """Build the loss called ``name`` with ``options``, the arguments of its class.

    Raises:
        UnknownNameError: if no loss has this name.
        InputError: if an option is unknown, missing or out of range, or a plugin cannot be imported.

    Example:
        >>> get_loss("logits", temperature=4.0)
        LogitsKLLoss(direction='student_teacher', temperature=4.0)
    """
    check_loss_name(name)
    factory = LOSSES[name] if name in LOSSES else _load(_plugins()[name])
    check_options(name, factory, options)
    return factory(**options)


def check_loss_name(name: object) -> None:
    """Raise :class:`UnknownNameError` unless ``name`` is a known loss."""
    names = loss_names()
    if not isinstance(name, str):
        raise InputError(f"a loss is given by its name or as a module, got {type(name).__name__}.")
    if name not in names:
        raise UnknownNameError(f"unknown loss {name!r}; known: {', '.join(names)}.{near_matches(name, names)}")


def check_options(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    """Raise ``InputError`` unless ``factory`` can be called with ``options``."""
    signature = inspect.signature(factory)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    for option in options:
        if option not in signature.parameters and not takes_any:
            known = list(signature.parameters)
            raise InputError(
                f"loss {name!r} has no option {option!r}; it takes {', '.join(known) or 'none'}."
                f"{near_matches(option, known)}"
            )
    try:
        signature.bind(**options)
    except TypeError as error:
        raise InputError(f"loss {name!r} cannot be built from {options}: {error}.") from error


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _load(point: EntryPoint) -> Callable[..., Any]:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"loss {point.name!r} ({point.value}) cannot be imported: {error}; install or repair its package."
        ) from error
