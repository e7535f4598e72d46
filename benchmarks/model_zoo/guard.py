# SPDX-License-Identifier: Apache-2.0
"""What a distillation that ended well must show: the right activation, every term at work, new weights of the student."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from akd_monai.errors import InputError
from akd_monai.losses import Activation
from akd_monai.networks import load_weights
from benchmarks.model_zoo.bundles import ZooBundle
from benchmarks.model_zoo.weights import draw_network

__all__ = ["doubts_of_log", "doubts_of_weights", "hashes"]

_ACTIVATION = re.compile(r"teacher and student are compared as (\w+) outputs")
_EPOCH = re.compile(r"training: epoch \S+ (.*)")
_WRITTEN = re.compile(r"^Student: (.+)$", re.MULTILINE)


def doubts_of_log(log: str, activation: Activation, terms: Sequence[str]) -> list[str]:
    """Return what is wrong with a run by its log.

    Args:
        log: what the command has printed.
        activation: that both networks have.
        terms: names of the terms that must be finite and not 0.

    Example:
        >>> log = "teacher and student are compared as softmax outputs\\ntraining: epoch 1/1, task 0.5, logits 0.0, 00:01"
        >>> doubts_of_log(log, "sigmoid", ["task", "logits"])
        ['the activation was softmax, wanted sigmoid', 'logits is 0.0']
    """
    doubts = []
    used = _ACTIVATION.findall(log)
    if used != [activation]:
        doubts.append(f"the activation was {', '.join(used) or 'not told'}, wanted {activation}")
    epoch = _EPOCH.search(log)
    if epoch is None:
        return [*doubts, "no epoch was told"]
    values = dict(part.rsplit(" ", 1) for part in epoch[1].split(", ") if " " in part)
    for name in terms:
        value = float(values.get(name, "nan"))
        if not math.isfinite(value) or value == 0:
            doubts.append(f"{name} is {value}")
    return doubts


def hashes(folder: Path) -> dict[Path, str]:
    """Return the SHA-256 of every file of weights in a bundle."""
    return {path.resolve(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.pt"))}


def doubts_of_weights(log: str, before: dict[Path, str], student: Path, spec: ZooBundle | None) -> list[str]:
    """Return what is wrong with the weights that a run says to have written.

    Args:
        log: what the command has printed.
        before: :func:`hashes` of the student's folder before the run.
        student: the student's folder.
        spec: of the student's bundle, where its network needs overrides.
    """
    found = _WRITTEN.search(log)
    if found is None:
        return ["no weights were named"]
    path = Path(student, found[1].strip()).resolve()
    if not path.is_file():
        return ["the weights that were named do not exist"]
    if hashlib.sha256(path.read_bytes()).hexdigest() == before.get(path):
        return ["the weights are those of before the run"]
    folder = Path.cwd()
    try:
        load_weights(draw_network(student, {} if spec is None else spec.network), path)
    except InputError as error:
        return [f"the weights do not fit the student: {error}"]
    finally:
        os.chdir(folder)
    return []
