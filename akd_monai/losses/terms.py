# SPDX-License-Identifier: Apache-2.0
"""One named, weighted term of a distillation criterion, and how it is read from a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from torch import nn

from akd_monai.errors import InputError, UnknownNameError, check_choice, check_mapping, check_number
from akd_monai.losses._statements import needs_labels, stated_needs
from akd_monai.losses.interface import TeacherNeeds
from akd_monai.losses.registry import _check_loss_name, get_loss
from akd_monai.losses.schedule import TermSchedule

__all__ = ["Adapter", "DistillationTerm"]

Adapter = Literal["conv1x1"]

_RESERVED = frozenset(dir(nn.ModuleDict()))


@dataclass
class DistillationTerm:
    """One term: which maps of student and teacher are compared, how, and how much it counts.

    Args:
        name: unique in the criterion; names the term in logs and its adapter in checkpoints.
        loss: module called as ``loss(student, teacher)`` that returns a scalar; see
            :class:`~akd_monai.losses.DistillationLoss` for what it may state about itself.
        weight: factor of the loss, finite and at least 0; 0 turns the term off.
        student_layer: module path of the student's map, ``None`` for its final logits.
        teacher_layer: module path of the teacher's map, ``None`` for its final logits.
        adapter: module applied to the student's map, ``"conv1x1"`` for a 1x1 convolution without bias that
            :meth:`DistillationCriterion.build_adapters` makes, or ``None``.
        resize: bring the larger map to the smaller one's size by adaptive average pooling.
        schedule: how the weight changes over a training, a :class:`TermSchedule` or a mapping with its fields; ``None`` for
            a constant weight.

    Raises:
        InputError: if a value is of the wrong kind or out of range.

    Example:
        >>> DistillationTerm("soft", nn.MSELoss(), weight=0.2).student_layer is None
        True
    """

    name: str
    loss: nn.Module
    weight: float = 1.0
    student_layer: str | None = None
    teacher_layer: str | None = None
    adapter: nn.Module | Adapter | None = None
    resize: bool = False
    schedule: TermSchedule | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_term_name(self.name)
        _check_fields(vars(self))
        if not isinstance(self.loss, nn.Module):
            raise InputError(f"term {self.name!r}: loss must be a module, got {type(self.loss).__name__}.")
        with _naming_term(self.name):
            self.schedule = TermSchedule.read(self.schedule)
            stated_needs(self.loss)
            needs_labels(self.loss)

    def factor(self, epoch: float | None) -> float:
        """Return what the schedule makes of the weight after so many epochs, 1 without a schedule.

        Raises:
            InputError: if there is a schedule, and ``epoch`` is ``None``.
        """
        if not isinstance(self.schedule, TermSchedule):
            return 1.0
        if epoch is None:
            raise InputError(
                "its weight has a schedule: call set_epoch of the criterion before each step, as a DistillationTrainer does."
            )
        return self.schedule.factor(epoch)

    @property
    def teacher_needs(self) -> TeacherNeeds | None:
        """What the term reads of the teacher's logits; ``None`` if it compares another layer.

        Resized logits are averaged, which takes the numbers as they are, whatever the loss needs.

        Example:
            >>> from akd_monai.losses import AdaptiveAffinityLoss
            >>> DistillationTerm("borders", AdaptiveAffinityLoss()).teacher_needs
            'labels'
        """
        if self.teacher_layer is not None:
            return None
        return "logits" if self.resize else stated_needs(self.loss)


def _read_term(entry: object, label: str) -> DistillationTerm | None:
    """Return the term of an entry of a config; ``None`` where its weight is 0, whose loss is then not built.

    Args:
        entry: a term, or a mapping with its fields and, where ``loss`` is a name, ``"options"`` for its class.
        label: place of the entry in the list or its name, for messages.

    Raises:
        InputError: if an entry is missing or of the wrong kind.
        UnknownNameError: if an entry is unknown, or no loss has the given name.
    """
    if isinstance(entry, DistillationTerm):
        return entry if entry.weight > 0 else None
    values = _known_entries(entry, label)
    name = values["name"]
    options = values.pop("options", None) or {}
    _check_term_name(name)
    # A term of weight 0 is checked as well, so that a typing error does not wait until it is turned on.
    with _naming_term(name):
        _check_loss(values["loss"], options)
    _check_fields(values)
    if values.get("weight", 1.0) == 0:
        return None
    if not isinstance(values["loss"], nn.Module):
        with _naming_term(name):
            values["loss"] = get_loss(values["loss"], **options)
    return DistillationTerm(**values)


def _named_entry(name: object, entry: object) -> object:
    """Return an entry of a mapping from names to terms, with its name.

    Raises:
        InputError: if it has another name of its own.
    """
    if isinstance(entry, Mapping):
        entry = {"name": name, **entry}
        own = entry["name"]
    else:
        own = getattr(entry, "name", name)
    if own != name:
        raise InputError(f"the term under {name!r} is called {own!r}: leave its entry 'name' out.")
    return entry


@contextmanager
def _naming_term(name: str) -> Iterator[None]:
    """Put the term's name in front of the message of an ``InputError`` raised inside."""
    try:
        yield
    except InputError as error:
        kind = UnknownNameError if isinstance(error, UnknownNameError) else InputError
        raise kind(f"term {name!r}: {error}", code=error.code) from error


def _known_entries(entry: object, label: str) -> dict[str, Any]:
    """Return a mapping of a config as a dictionary, if it has all entries that a term needs and no other."""
    if not isinstance(entry, Mapping):
        raise InputError(f"term {label} must be a mapping or a DistillationTerm, got {type(entry).__name__}.")
    known = [*(field.name for field in fields(DistillationTerm)), "options"]
    values = check_mapping(f"term {label}", entry, known)
    for required in ("name", "loss"):
        if required not in values:
            raise InputError(f"term {label} lacks the entry {required!r}.")
    return values


def _check_term_name(name: object) -> None:
    """Raise ``InputError`` unless ``name`` can name a term, a sub-module and a logged value."""
    if not isinstance(name, str) or not name or any(c in name for c in "./") or name in _RESERVED:
        raise InputError(f"a term needs a name without '.' and '/' that is no attribute of modules, got {name!r}.")


def _check_loss(loss: object, options: object) -> None:
    """Raise ``InputError`` unless a loss is built, or known by its name and given its options as a mapping."""
    if isinstance(loss, nn.Module):
        if options:
            raise InputError("options go with the name of a loss; this loss is already built.")
        return
    _check_loss_name(loss)
    if not isinstance(options, Mapping):
        raise InputError(f"options must be a mapping, got {type(options).__name__}.")


def _check_fields(values: Mapping[str, Any]) -> None:
    """Raise ``InputError`` if a field of a term, other than name and loss, is of the wrong kind or out of range."""
    term = f"term {values['name']!r}"
    check_number(f"{term}: weight", values.get("weight", 1.0), at_least=0)
    for key in ("student_layer", "teacher_layer"):
        layer = values.get(key)
        if layer is not None and (not isinstance(layer, str) or not layer):
            raise InputError(f"{term}: {key} must be a module path or null (logits), got {layer!r}.")
    resize = values.get("resize", False)
    if not isinstance(resize, bool):
        raise InputError(f"{term}: resize must be true or false, got {resize!r}.")
    with _naming_term(values["name"]):
        TermSchedule.read(values.get("schedule"))
    adapter = values.get("adapter")
    if adapter is not None and not isinstance(adapter, nn.Module):
        check_choice(f"{term}: adapter, unless null or a module,", adapter, get_args(Adapter))
