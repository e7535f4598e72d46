# SPDX-License-Identifier: Apache-2.0
"""Names of the losses, those of other packages included, and the options of their classes."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from torch import nn

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.losses import (
    LOSSES,
    AdaptiveAffinityLoss,
    GramKernelLoss,
    LogitsKLLoss,
    get_loss,
    loss_names,
    registry,
)


def test_registry_knows_the_three_modules():
    assert {"affinity", "gram", "logits"} <= set(loss_names())
    assert "gram" in LOSSES
    assert isinstance(get_loss("affinity", kernel=5), AdaptiveAffinityLoss)
    assert isinstance(get_loss("gram"), GramKernelLoss)
    assert get_loss("logits", temperature=4.0).temperature == 4.0
    assert LOSSES["logits"] is LogitsKLLoss


def test_other_packages_add_losses_by_entry_points(monkeypatch):
    points = [
        EntryPoint("squared", "torch.nn:MSELoss", "akd_monai.losses"),
        EntryPoint("broken", "no_such_package:Loss", "akd_monai.losses"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "akd_monai.losses" else [])
    assert isinstance(get_loss("squared", reduction="sum"), nn.MSELoss)
    assert "squared" in loss_names()
    with pytest.raises(InputError, match=r"loss 'broken' \(no_such_package:Loss\) cannot be imported"):
        get_loss("broken")
    with pytest.raises(UnknownNameError, match=r"unknown loss 'sqared'.*Did you mean 'squared'"):
        get_loss("sqared")


def test_options_of_a_loss_are_checked_by_name():
    with pytest.raises(InputError, match=r"unknown option 'mod' of loss 'gram'. Did you mean 'mode'.*Known: mode, "):
        get_loss("gram", mod="batch")
    LOSSES.add("needy", "for this test", nn.ConstantPad2d)
    try:
        with pytest.raises(InputError, match=r"loss 'needy' cannot be built from {'value': 1}: missing .*'padding'"):
            get_loss("needy", value=1)
    finally:
        del LOSSES.components["needy"]
