# SPDX-License-Identifier: Apache-2.0
"""What transforms and losses of a config tell about the activation of its network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from akd_monai.bundle._static import StaticConfig, components
from akd_monai.losses import Activation

__all__ = ["Evidence", "read_evidence"]

_LOSSES: Mapping[str, Activation] = {
    "CrossEntropyLoss": "softmax",
    "NLLLoss": "softmax",
    "BCEWithLogitsLoss": "sigmoid",
    "MultiLabelSoftMarginLoss": "sigmoid",
}
_IN_CODE: Mapping[str, Activation] = {
    r"\b(binary_cross_entropy_with_logits|BCEWithLogitsLoss|sigmoid)\b": "sigmoid",
    r"\b(cross_entropy|CrossEntropyLoss|softmax)\b": "softmax",
}
_NO_OUTPUT = {"image", "label", "mask"}


@dataclass(frozen=True)
class Evidence:
    """One statement of a config.

    Args:
        activation: what it speaks for.
        is_strong: whether it names the activation; otherwise it only goes with it, as ``argmax`` does with softmax.
        where: config and id.
        what: the transform or loss with its argument.
    """

    activation: Activation
    is_strong: bool
    where: str
    what: str


def read_evidence(config: StaticConfig) -> Iterator[Evidence]:
    """Yield what a config tells about the activation of its network; nothing of it is run.

    Example:
        >>> from monai.bundle import ConfigParser
        >>> loss = {"loss": {"_target_": "DiceLoss", "sigmoid": True}}
        >>> [(e.activation, e.what) for e in read_evidence(StaticConfig("train.json", ConfigParser(loss)))]
        [('sigmoid', 'DiceLoss(sigmoid)')]
    """
    for place, content in components(config):
        target = content["_target_"]
        name = target.rsplit(".", 1)[-1]
        given = {key: _read(config.follow(value)) for key, value in content.items() if key != "_target_"}
        if str(given.get("_disabled_")).lower() == "true":
            continue
        where = f"{config.name} at {place!r}"
        if name in _ACTIVATIONS:
            yield from _of_activations(content, given, where, name)
        elif name in _DISCRETE:
            yield from _of_discrete(given, where, name)
        elif name.endswith("Loss") or name in _LOSSES:
            yield from _of_loss(content, given, where, name)
    yield from _of_code(config)


_ACTIVATIONS = {"Activations", "Activationsd", "ActivationsD", "ActivationsDict"}
_DISCRETE = {"AsDiscrete", "AsDiscreted", "AsDiscreteD", "AsDiscreteDict"}


def _of_activations(content: Mapping[str, Any], given: Mapping[str, Any], where: str, name: str) -> Iterator[Evidence]:
    for activation in _of_outputs(given, "softmax"), _of_outputs(given, "sigmoid"):
        yield from (Evidence(kind, True, where, f"{name}({kind})") for kind in activation)
    other = content.get("other")
    if isinstance(other, str):
        yield from _matches(other, where, f"{name}(other)")


def _of_outputs(given: Mapping[str, Any], argument: Activation) -> list[Activation]:
    return [argument for value in _for_outputs(given, argument) if value is True]


def _of_discrete(given: Mapping[str, Any], where: str, name: str) -> Iterator[Evidence]:
    if any(value is True for value in _for_outputs(given, "argmax")):
        yield Evidence("softmax", False, where, f"{name}(argmax)")
    elif any(_is_number(value) for value in _for_outputs(given, "threshold")):
        yield Evidence("sigmoid", False, where, f"{name}(threshold)")


def _for_outputs(given: Mapping[str, Any], argument: str) -> list[Any]:
    """Return the values of an argument for those of the keys that are outputs of a network."""
    keys = given.get("keys", "pred")
    names = keys if isinstance(keys, list) else [keys]
    value = given.get(argument)
    values = value if isinstance(value, list) else [value] * len(names)
    if len(values) != len(names):
        return []
    return [value for key, value in zip(names, values, strict=True) if key not in _NO_OUTPUT]


def _of_loss(content: Mapping[str, Any], given: Mapping[str, Any], where: str, name: str) -> Iterator[Evidence]:
    if name in _LOSSES:
        yield Evidence(_LOSSES[name], True, where, name)
    elif given.get("softmax") is True or given.get("use_softmax") is True:
        yield Evidence("softmax", True, where, f"{name}(softmax)")
    elif given.get("sigmoid") is True:
        yield Evidence("sigmoid", True, where, f"{name}(sigmoid)")
    elif name == "FocalLoss" and "use_softmax" not in given:
        # the class applies a sigmoid by default
        yield Evidence("sigmoid", True, where, f"{name}()")
    elif given.get("to_onehot_y") is True:
        yield Evidence("softmax", False, where, f"{name}(to_onehot_y)")
    if given.get("softmax") is True and given.get("sigmoid") is True:
        yield Evidence("sigmoid", True, where, f"{name}(sigmoid)")
    activation = content.get("other_act")
    if isinstance(activation, str):
        yield from _matches(activation, where, f"{name}(other_act)")


def _of_code(config: StaticConfig) -> Iterator[Evidence]:
    """Yield what expressions at ids of a loss name."""
    for place, content in config.parser.get().items():
        if "loss" in str(place).lower() and isinstance(content, str) and content.startswith("$"):
            yield from _matches(content, f"{config.name} at {place!r}", "an expression")


def _matches(code: str, where: str, what: str) -> Iterator[Evidence]:
    for pattern, activation in _IN_CODE.items():
        match = re.search(pattern, code)
        if match:
            yield Evidence(activation, True, where, f"{what} with {match[0]}")


def _read(value: Any) -> Any:
    """Return a flag that a config writes as a string as what Python takes it for."""
    return True if value == "True" else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
