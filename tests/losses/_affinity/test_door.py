# SPDX-License-Identifier: Apache-2.0
"""The algorithms of the affinity loss have one door, and the options one place where they are checked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import akd_monai
from akd_monai.losses import AdaptiveAffinityLoss, affinity_loss, affinity_terms
from akd_monai.losses.functional import affinity

PACKAGE = Path(akd_monai.__file__).parent
ROOM = "akd_monai.losses._affinity"


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_one_module_imports_from_the_room():
    room = PACKAGE / "losses" / "_affinity"
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        if not path.is_relative_to(room)
        for name in imported(path)
        if name.startswith(ROOM)
    }
    door = "losses/functional/affinity.py"
    assert found == {(door, f"{ROOM}.AffinityOptions"), (door, f"{ROOM}.compute_affinity")}


@pytest.mark.parametrize(
    "call",
    [
        lambda scores, logits: affinity_loss(scores, logits.argmax(1)),
        lambda scores, logits: affinity_terms(scores, logits.argmax(1)),
        AdaptiveAffinityLoss(),
    ],
    ids=["loss", "terms", "module"],
)
def test_a_call_checks_and_resizes_once(monkeypatch, call):
    calls = {"_check_scores": 0, "_nearest_exact": 0, "_affinity_options": 0, "compute_affinity": 0}
    for name in calls:
        original = getattr(affinity, name)

        def counted(*given, name=name, original=original):
            calls[name] += 1
            return original(*given)

        monkeypatch.setattr(affinity, name, counted)
    monkeypatch.setattr("akd_monai.losses.affinity._affinity_options", affinity._affinity_options)
    call(torch.randn(1, 3, 4, 4), torch.randn(1, 2, 8, 8))
    assert set(calls.values()) == {1}
