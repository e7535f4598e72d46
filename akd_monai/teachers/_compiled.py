# SPDX-License-Identifier: Apache-2.0
"""Check that a compiled teacher computes what the plain one does."""

from __future__ import annotations

import torch

from akd_monai.errors import InputError
from akd_monai.losses.interface import Activation

__all__ = ["check_compiled"]

# of values and of decisions; half precision keeps 8 bits (bfloat16) and more
_VALUES = 1e-2
_DECISIONS = 0.999
_REMEDY = "set compile of teacher_options to false"

Outputs = tuple[torch.Tensor, dict[str, torch.Tensor]]


def check_compiled(plain: Outputs, compiled: Outputs, activation: Activation = "softmax") -> None:
    """Compare logits and features of a plain and a compiled network on the same images.

    Args:
        plain: of the plain network.
        compiled: of the compiled one.
        activation: whether the decision is the arg-max of the logits or the sign of each.

    Raises:
        InputError: if a value differs by more than 1e-2 of the largest one, or more than 0.1 % of the decisions do.
    """
    _check_values("logits", plain[0], compiled[0])
    for layer, feature in plain[1].items():
        _check_values(layer, feature, compiled[1][layer])
    decide = _largest if activation == "softmax" else _present
    equal = (decide(plain[0]) == decide(compiled[0])).float().mean().item()
    if equal < _DECISIONS:
        raise InputError(
            f"torch.compile changes the teacher's decision in {100 - 100 * equal:.2f} % of the pixels: {_REMEDY}."
        )


def _largest(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(1)


def _present(logits: torch.Tensor) -> torch.Tensor:
    return logits > 0


def _check_values(name: str, plain: torch.Tensor, compiled: torch.Tensor) -> None:
    scale = plain.float().abs().max().clamp(min=1e-12)
    difference = ((plain.float() - compiled.float()).abs().max() / scale).item()
    # written so that NaN is refused, too
    if not difference <= _VALUES:
        raise InputError(
            f"torch.compile changes the teacher's {name} by {difference:.1e} of their largest value: {_REMEDY}."
        )
