# SPDX-License-Identifier: Apache-2.0
"""One activation for a teacher's output and for every term that reads its logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from akd_monai.errors import InputError
from akd_monai.losses import Activation, DistillationTerm, TeacherNeeds
from akd_monai.teachers.output import TeacherOutput

__all__ = ["needs_of", "output_for"]


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
