# SPDX-License-Identifier: Apache-2.0
"""One activation for a teacher's output and for every term that reads its logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from akd_monai.errors import InputError
from akd_monai.losses import Activation, DistillationTerm, TeacherNeeds
from akd_monai.teachers.output import TeacherOutput

__all__ = ["needs_of", "output_for", "outputs_for"]


def output_for(terms: Sequence[DistillationTerm], given: TeacherOutput | Mapping[str, Any] | None) -> TeacherOutput:
    """Return what is taken from a teacher's output; an activation that is not given is that of the terms.

    Args:
        terms: the active ones.
        given: as an object, or as a mapping of a config.

    Raises:
        InputError: if the activations differ.

    Example:
        >>> from akd_monai.losses import LogitsKLLoss
        >>> term = DistillationTerm("logits", LogitsKLLoss(activation="sigmoid"))
        >>> output_for([term], {"head": 0})
        TeacherOutput(head=0, classes=None, activation='sigmoid')
        >>> output_for([term], {"activation": "softmax"})
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: term 'logits' has activation 'sigmoid', but the teacher's output is 'softmax'; ...
    """
    stated = {term.name: _activation_of(term) for term in terms}
    known = [activation for activation in stated.values() if activation is not None]
    if not isinstance(given, TeacherOutput):
        given = {} if given is None else given
        if isinstance(given, Mapping) and known:
            given = {"activation": known[0], **given}
    output = TeacherOutput.read(given)
    for name, activation in stated.items():
        if activation not in (None, output.activation):
            raise InputError(
                f"term {name!r} has activation {activation!r}, but the teacher's output is {output.activation!r}",
                remedy="set the activation of every loss on logits, and of teacher_output, to what both networks end with",
            )
    return output


def outputs_for(
    terms: Sequence[DistillationTerm],
    given: TeacherOutput | Mapping[str, Any] | Sequence[TeacherOutput | Mapping[str, Any]] | None,
    teachers: int = 1,
) -> list[TeacherOutput]:
    """Return what is taken from the output of each of several teachers.

    Args:
        terms: the active ones.
        given: one for all; a list with one for each; or a mapping whose ``head`` and ``classes`` may be such lists.
        teachers: how many there are.

    Raises:
        InputError: if the activations differ, or a list has another length.

    Example:
        >>> given = {"classes": [None, [[1], [0]]]}
        >>> [output.classes for output in outputs_for([], given, teachers=2)]
        [None, [[1], [0]]]
    """
    if teachers == 1:
        return [output_for(terms, given)]  # type: ignore[arg-type] # a list is refused by name
    if isinstance(given, Mapping):
        given = _divided(given, teachers)
    if isinstance(given, list | tuple):
        _check_length("teacher_output", given, teachers)
        each = list(given)
    else:
        each = [given] * teachers
    outputs = [output_for(terms, one) for one in each]
    for number, output in enumerate(outputs):
        if output.activation != outputs[0].activation:
            raise InputError(
                f"the output of teacher 1 is {outputs[0].activation!r}, that of teacher {number + 1} "
                f"{output.activation!r}: choose teachers of one kind."
            )
    return outputs


def _divided(given: Mapping[str, Any], teachers: int) -> list[dict[str, Any]]:
    """Return a mapping for each teacher of one whose ``head`` and ``classes`` may be lists with one value for each."""
    head: Any = given.get("head")
    classes: Any = given.get("classes")
    heads = [head] * teachers
    if isinstance(head, list | tuple):
        _check_length("head of teacher_output", head, teachers)
        heads = list(head)
    tables = [classes] * teachers
    if _is_for_each(classes):
        _check_length("classes of teacher_output", classes, teachers)
        tables = list(classes)
    rest = {name: value for name, value in given.items() if name not in ("head", "classes")}
    return [{**rest, "head": head_of_one, "classes": table} for head_of_one, table in zip(heads, tables, strict=True)]


def _is_for_each(classes: Any) -> bool:
    """Return whether classes are lists of channels for each teacher, rather than for each class."""
    if not isinstance(classes, list | tuple) or not classes:
        return False
    return any(one is None or (isinstance(one, list | tuple) and one and _is_list(one[0])) for one in classes)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _check_length(what: str, given: Sequence[Any], teachers: int) -> None:
    if len(given) != teachers:
        raise InputError(f"{what} is a list of {len(given)}, wanted one for each of {teachers} teachers.")


def needs_of(term: DistillationTerm, activation: Activation) -> TeacherNeeds | None:
    """Return what a term reads of the teacher's logits; every number where its loss does not know sigmoid channels.

    Args:
        term: of a criterion.
        activation: of the teacher's output.
    """
    needs = term.teacher_needs
    if needs is None or activation == "softmax" or _activation_of(term) == activation:
        return needs
    return "logits"


def _activation_of(term: DistillationTerm) -> Activation | None:
    """Return the activation that a loss on the teacher's logits has, ``None`` where it says none."""
    activation = getattr(term.loss, "activation", None)
    is_stated = isinstance(activation, str) and activation in get_args(Activation)
    return activation if is_stated and term.teacher_layer is None else None
