# SPDX-License-Identifier: Apache-2.0
"""Losses of other methods as terms between two bundles that know nothing of this package."""

from __future__ import annotations

import sys

import monai
import pytest
import torch
from small_students import nested, unet, write_big, write_student, write_volumes

from akd_monai.__main__ import user_error
from akd_monai.bundle import DistillationWorkflow
from akd_monai.errors import InputError
from akd_monai.losses import LOSSES

BOTTOM = "model.1.submodule"
OPTIONS = {"mskd_style_graph": {"nodes": 4}, "cross_image_relation": {"pooling": 2}}
OWN = ("affinity", "gram", "logits")
OF_LOGITS = ("channel_wise", "dist")
EVERY = [name for name in LOSSES.names if name not in OWN]


@pytest.fixture(autouse=True)
def no_seeds_or_modules_are_left(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)


def pair(root, *, parts=0, classes=2):
    """Write a teacher and a student of another width."""
    data = write_volumes(root / "data", parts=parts)
    wide = nested(data, classes, sigmoid=bool(parts), epochs=1)
    narrow = wide | {"network_def": {**unet(classes), "channels": [3, 6]}}
    return write_big(root / "teacher", wide, classes=classes), write_student(root / "student", narrow, classes=classes)


def term(name, activation="softmax"):
    layers = {} if name in OF_LOGITS else {"student_layer": BOTTOM, "teacher_layer": BOTTOM}
    options = dict(OPTIONS.get(name, {}))
    if name in ("region_affinity", "intra_class_variation", "dist"):
        options["activation"] = activation
    return {f"distillation#terms#{name}": {"loss": name, "options": options, "weight": 0.1, **layers}}


def distilled(bundles, *overrides):
    values = {f"lambda_{name}": 0.0 for name in OWN}
    for override in overrides:
        values |= override
    workflow = DistillationWorkflow(*bundles, distillation_resume="off", **values)
    workflow.initialize()
    workflow.run()
    terms = workflow.parser.get_parsed_content("train#trainer").state.loss_terms
    workflow.finalize()
    return terms


def weights(bundles):
    return torch.load(bundles[1] / "models" / "model.pt", weights_only=True)


def test_every_loss_trains_a_foreign_student(tmp_path):
    bundles = pair(tmp_path)
    adapted = {"loss": "channel_wise", "student_layer": BOTTOM, "teacher_layer": BOTTOM, "adapter": "conv1x1"}
    terms = distilled(bundles, *map(term, EVERY), {"distillation#terms#adapted": adapted})
    assert set(terms) == {"task", "adapted", *EVERY}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())


@pytest.mark.parametrize("name", EVERY)
def test_no_loss_is_idle(tmp_path, name):
    bundles = pair(tmp_path)
    seen = []
    for override in ({}, {}, term(name)):
        distilled(bundles, override)
        seen.append(weights(bundles))
    plain, again, trained = seen
    assert all(torch.equal(value, again[key]) for key, value in plain.items())
    assert any(not torch.equal(value, trained[key]) for key, value in plain.items())


def test_overlapping_channels(tmp_path):
    bundles = pair(tmp_path, parts=3, classes=3)
    names = [name for name in EVERY if name != "dist"]
    terms = distilled(bundles, *(term(name, "@output_activation") for name in names))
    assert set(terms) == {"task", *names}
    assert all(torch.isfinite(value) and value > 0 for value in terms.values())
    with pytest.raises((InputError, RuntimeError)) as caught:
        distilled(bundles, term("dist", "@output_activation"))
    assert "DISTLoss correlates the classes of a pixel" in str(user_error(caught.value))
