# SPDX-License-Identifier: Apache-2.0
"""Terms, adapters and mistakes of the distillation criterion."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch import nn

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.losses import (
    DistillationCriterion,
    DistillationTerm,
    affinity_loss,
    gram_loss,
    logits_kl,
)

PAPER = json.loads("""[
    {"name": "logits", "loss": "logits", "weight": 0.2},
    {"name": "gram", "loss": "gram", "weight": 0.9, "student_layer": "encoder.3", "teacher_layer": "x3_0",
     "adapter": "conv1x1", "options": {"mode": "channel"}},
    {"name": "affinity", "loss": "affinity", "weight": 0.9, "student_layer": "encoder.3",
     "options": {"margin": 2.0}}
]""")


def maps(seed=0, batch=2):
    rng = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(batch, 2, 8, 8, generator=rng) for _ in range(2))
    return (
        student.requires_grad_(),
        teacher.requires_grad_(),
        {"encoder.3": torch.randn(batch, 3, 4, 4, generator=rng).requires_grad_()},
        {"x3_0": torch.randn(batch, 5, 4, 4, generator=rng).requires_grad_()},
    )


def paper_criterion(seed=7):
    criterion = DistillationCriterion(PAPER)
    criterion.build_adapters({"encoder.3": 3}, {"x3_0": 5}, spatial_dims=2, seed=seed)
    return criterion


def test_terms_are_weighted_losses_of_the_named_maps():
    criterion, (student, teacher, ours, theirs) = paper_criterion(), maps()
    values = criterion(student, teacher, ours, theirs)
    assert list(values) == ["logits", "gram", "affinity"]
    assert all(value.dim() == 0 for value in values.values())
    adapted = torch.einsum("dc,bchw->bdhw", criterion.adapters["gram"].weight[:, :, 0, 0], ours["encoder.3"])
    torch.testing.assert_close(values["logits"], 0.2 * logits_kl(student, teacher))
    torch.testing.assert_close(values["gram"], 0.9 * gram_loss(adapted, theirs["x3_0"], mode="channel"))
    expected = affinity_loss(ours["encoder.3"], teacher.argmax(1)[:, 1::2, 1::2], margin=2.0)
    torch.testing.assert_close(values["affinity"], 0.9 * expected)


def test_gradients_reach_student_and_adapter_but_not_the_teacher():
    criterion, (student, teacher, ours, theirs) = paper_criterion(), maps()
    sum(criterion(student, teacher, ours, theirs).values()).backward()
    trained = [student, ours["encoder.3"], criterion.adapters["gram"].weight]
    assert all(x.grad.abs().sum() > 0 for x in trained)
    assert teacher.grad is None
    assert theirs["x3_0"].grad is None


def test_layers_and_active_terms():
    criterion = DistillationCriterion([*PAPER, {"name": "off", "loss": "gram", "weight": 0, "student_layer": "a"}])
    assert [term.name for term in criterion.active] == ["logits", "gram", "affinity"]
    assert criterion.student_layers == ["encoder.3"]
    assert criterion.teacher_layers == ["x3_0"]


def test_a_mapping_from_names_is_the_same_list_in_its_order():
    entries = {term["name"]: {key: value for key, value in term.items() if key != "name"} for term in PAPER[::-1]}
    criterion = DistillationCriterion(entries)
    assert [term.name for term in criterion.active] == ["affinity", "gram", "logits"]
    criterion.build_adapters({"encoder.3": 3}, {"x3_0": 5}, spatial_dims=2, seed=7)
    given = maps()
    values, expected = criterion(*given), paper_criterion()(*given)
    assert {name: values[name].item() for name in expected} == {name: x.item() for name, x in expected.items()}
    assert "name" not in entries["gram"]


def test_a_mapping_may_leave_out_a_term_and_hold_built_ones():
    soft = DistillationTerm("soft", nn.MSELoss())
    criterion = DistillationCriterion({"gram": None, "soft": soft, "off": {"loss": "logits", "weight": 0}})
    assert criterion.active == [soft]
    with pytest.raises(InputError, match="the term under 'hard' is called 'soft'"):
        DistillationCriterion({"hard": soft})


def test_layers_are_sorted_and_listed_once():
    layers = ["b.1", "a", "b.1"]
    terms = [{"name": f"g{k}", "loss": "gram", "student_layer": x, "teacher_layer": x} for k, x in enumerate(layers)]
    criterion = DistillationCriterion(terms)
    assert criterion.student_layers == criterion.teacher_layers == ["a", "b.1"]


def test_a_term_of_weight_zero_is_neither_built_nor_computed(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("built")

    monkeypatch.setattr("akd_monai.losses.terms.get_loss", refuse)
    criterion = DistillationCriterion(
        [{"name": "a", "loss": "gram", "weight": 0, "adapter": "conv1x1"}, DistillationTerm("b", nn.MSELoss(), 0.0)]
    )
    criterion.build_adapters({}, {}, spatial_dims=2, seed=0)
    assert criterion(*maps()) == {}
    assert not list(criterion.parameters())


def test_no_terms_give_no_values():
    assert DistillationCriterion([])(*maps()) == {}


def test_adapters_are_a_function_of_seed_and_name_alone():
    before = torch.get_rng_state()
    weights = [paper_criterion(seed).adapters["gram"].weight for seed in (7, 7, 8)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    two = DistillationCriterion([{**PAPER[1], "name": name} for name in ("gram", "other")])
    two.build_adapters({"encoder.3": 3}, {"x3_0": 5}, spatial_dims=2, seed=7)
    assert torch.equal(two.adapters["gram"].weight, weights[0])
    assert not torch.equal(two.adapters["other"].weight, weights[0])


@pytest.mark.parametrize("dims", [2, 3])
def test_adapters_are_convolutions_initialised_as_usual(dims):
    criterion = DistillationCriterion(PAPER)
    criterion.build_adapters({"encoder.3": 64}, {"x3_0": 256}, spatial_dims=dims, seed=0)
    adapter = criterion.adapters["gram"]
    assert isinstance(adapter, nn.Conv2d if dims == 2 else nn.Conv3d)
    assert adapter.bias is None
    assert adapter.weight.shape == (256, 64, *[1] * dims)
    bound = 1 / math.sqrt(64)  # uniform in +-1/sqrt(fan_in), the default of nn.Conv: standard deviation bound/sqrt(3)
    assert adapter.weight.abs().max() <= bound
    assert adapter.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert adapter.weight.requires_grad
    assert list(criterion.state_dict()) == ["adapters.gram.weight"]


def test_given_modules_serve_as_loss_and_adapter_and_survive_a_copy():
    term = DistillationTerm("soft", nn.MSELoss(), 0.5, "encoder.3", "x3_0", adapter=nn.Conv2d(3, 5, 1))
    criterion = copy.deepcopy(DistillationCriterion([term])).double()
    student, teacher, ours, theirs = (x.double() if torch.is_tensor(x) else x for x in maps())
    ours, theirs = ({k: v.detach().double().requires_grad_() for k, v in x.items()} for x in (ours, theirs))
    value = criterion(student, teacher, ours, theirs)["soft"]
    expected = 0.5 * (criterion.adapters["soft"](ours["encoder.3"]) - theirs["x3_0"]).square().mean()
    torch.testing.assert_close(value, expected)
    assert term.adapter.weight.dtype == torch.float32
    value.backward()  # the loss would send a gradient to the teacher; the criterion does not
    assert criterion.adapters["soft"].weight.grad is not None
    assert theirs["x3_0"].grad is None


def test_the_larger_map_is_pooled_to_the_smaller():
    term = {"name": "soft", "loss": nn.MSELoss(), "student_layer": "s", "teacher_layer": "t", "resize": True}
    criterion = DistillationCriterion([term])
    large = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = torch.tensor([[2.5, 4.5], [10.5, 12.5]]).reshape(1, 1, 2, 2)
    for student, teacher in ((large, pooled), (pooled, large)):
        assert criterion(large, large, {"s": student}, {"t": teacher})["soft"].item() == 0
    cross = criterion(large, large, {"s": large[..., :2]}, {"t": large[..., :2, :]})["soft"]  # 4x2 and 2x4: both to 2x2
    assert cross.isfinite()
    with pytest.raises(InputError, match=r"term 'soft': only maps of one number of dimensions.*\[1, 1, 4, 4\]"):
        criterion(large, large, {"s": large}, {"t": large[..., None]})


def test_three_dimensional_maps():
    criterion = DistillationCriterion(PAPER)
    criterion.build_adapters({"encoder.3": 3}, {"x3_0": 5}, spatial_dims=3, seed=0)
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 4, 4, 4, generator=rng)
    features = {"encoder.3": torch.randn(1, 3, 2, 2, 2, generator=rng)}, {"x3_0": torch.randn(1, 5, 2, 2, 2)}
    assert all(value.isfinite() for value in criterion(logits, logits, *features).values())


def test_weights_may_change_while_training():
    criterion = DistillationCriterion(PAPER[:1])
    before = criterion(*maps())["logits"]
    criterion.active[0].weight = 0.1
    torch.testing.assert_close(criterion(*maps())["logits"], before / 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": -0.1}, r"term 'logits': weight must be a finite number of at least 0, got -0.1"),
        ({"weight": math.nan}, r"term 'logits': weight must be a finite number of at least 0, got nan"),
        ({"weight": "0.2"}, r"term 'logits': weight must be a finite number .*got '0.2'"),
        ({"wieght": 1.0}, r"unknown entry 'wieght' of term 0. Did you mean 'weight'"),
        ({"name": "encoder.3"}, r"a term needs a name without '.' and '/'.*got 'encoder.3'"),
        ({"name": "keys"}, r"no attribute of modules, got 'keys'"),
        ({"loss": 3}, r"term 'logits': a loss is given by its name or as a module, got int"),
        ({"options": {"temprature": 2}}, r"term 'logits': unknown option 'temprature' of loss 'logits'.*'temperature'"),
        ({"options": {"temperature": 0}}, r"term 'logits': temperature must be a finite number above 0, got 0"),
        ({"options": [1]}, r"term 'logits': options must be a mapping, got list"),
        ({"loss": nn.MSELoss(), "options": {"a": 1}}, r"term 'logits': options go with the name of a loss"),
        ({"student_layer": 3}, r"term 'logits': student_layer must be a module path or null \(logits\), got 3"),
        ({"adapter": "conv"}, r"term 'logits': adapter.* got 'conv'. Did you mean 'conv1x1'"),
        ({"resize": "yes"}, r"term 'logits': resize must be true or false, got 'yes'"),
    ],
)
def test_entries_with_a_mistake(change, message):
    for weight in ({}, {"weight": 0}):  # a term that is off is checked as well, all but the options of its loss
        if not (weight and ("options" in change or "weight" in change)) or isinstance(change.get("options"), list):
            with pytest.raises(InputError, match=message):
                DistillationCriterion([{**PAPER[0], **weight, **change}])


def test_unknown_loss():
    with pytest.raises(UnknownNameError, match=r"term 'a': unknown loss 'afinity'.*Did you mean 'affinity'"):
        DistillationCriterion([{"name": "a", "loss": "afinity"}])


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([PAPER[0], PAPER[0]], r"two terms are called 'logits'"),
        ([PAPER[0], {**PAPER[1], "name": "logits", "weight": 0}], r"two terms are called 'logits'"),
        ([{"loss": "gram"}], r"term 0 lacks the entry 'name'"),
        ([PAPER[0], {"name": "x"}], r"term 1 lacks the entry 'loss'"),
        (["gram"], r"term 0 must be a mapping or a DistillationTerm, got str"),
        (PAPER[0], r"term 'name' must be a mapping or a DistillationTerm, got str"),
        (None, r"terms must be a list, or a mapping from their names, got NoneType"),
        ("logits", r"terms must be a list, or a mapping from their names, got str"),
        (
            {"soft": {"loss": "logits", "name": "hard"}},
            r"the term under 'soft' is called 'hard': leave its entry 'name'",
        ),
        ({"soft": {}}, r"term 'soft' lacks the entry 'loss'"),
        ({"so.ft": {"loss": "logits"}}, r"a term needs a name without '.' and '/' .*got 'so.ft'"),
        ({1: {"loss": "logits"}}, r"a term needs a name .*got 1"),
        ({"soft": {"loss": "logits", "wieght": 1}}, r"unknown entry 'wieght' of term 'soft'"),
    ],
)
def test_lists_with_a_mistake(terms, message):
    with pytest.raises(InputError, match=message):
        DistillationCriterion(terms)


def test_a_term_needs_a_module():
    with pytest.raises(InputError, match=r"term 'a': loss must be a module, got str"):
        DistillationTerm("a", "gram")


def test_adapters_must_be_built_from_known_channels():
    criterion = DistillationCriterion(PAPER)
    with pytest.raises(InputError, match=r"term 'gram': its adapter is not built yet: call build_adapters"):
        criterion(*maps())
    with pytest.raises(
        InputError,
        match=r"term 'gram': unknown layer 'encoder.3' among the channels of the student. .*Known: encoder.2",
    ):
        criterion.build_adapters({"encoder.2": 3}, {"x3_0": 5}, spatial_dims=2, seed=0)
    with pytest.raises(InputError, match=r"spatial_dims must be 2 or 3, got 1"):
        criterion.build_adapters({}, {}, spatial_dims=1, seed=0)


def test_an_adapter_towards_the_logits():
    term = {"name": "soft", "loss": "logits", "student_layer": "encoder.3", "adapter": "conv1x1", "resize": True}
    criterion = DistillationCriterion([term])
    criterion.build_adapters({"encoder.3": 3}, {"": 2}, spatial_dims=2, seed=0)
    assert criterion(*maps())["soft"].isfinite()


def test_mistakes_while_computing_name_the_term():
    student, teacher, ours, theirs = maps()
    criterion = DistillationCriterion([{**PAPER[1], "adapter": None}])
    with pytest.raises(InputError, match=r"term 'gram': the maps differ in channels .*\[2, 3, 4, 4\].*\[2, 5, 4, 4\]"):
        criterion(student, teacher, ours, theirs)
    with pytest.raises(
        InputError, match=r"term 'gram': unknown layer 'x3_0' among the features of the teacher. .*Known: x3_1"
    ):
        criterion(student, teacher, ours, {"x3_1": theirs["x3_0"]})
    spatial = DistillationCriterion([{**PAPER[1], "adapter": None, "options": {"mode": "spatial"}}])
    with pytest.raises(InputError, match=r"term 'gram': the maps differ in spatial size .*\"resize\": true"):
        spatial(student, teacher, ours, {"x3_0": torch.zeros(2, 5, 8, 8)})
    unreduced = DistillationCriterion([{"name": "raw", "loss": nn.MSELoss(reduction="none")}])
    with pytest.raises(InputError, match=r"term 'raw': the loss must return a scalar, got \[2, 2, 8, 8\]"):
        unreduced(student, teacher, ours, theirs)


@pytest.mark.parametrize("mode", ["batch", "channel"])
def test_the_criterion_is_one_compiled_graph(mode):
    terms = [{**PAPER[1], "options": {"mode": mode}} if term["name"] == "gram" else term for term in PAPER]
    criterion = DistillationCriterion(terms)
    criterion.build_adapters({"encoder.3": 4}, {"x3_0": 6}, spatial_dims=2, seed=0)
    rng = torch.Generator().manual_seed(0)
    shapes = ((2, 2, 8, 8), (2, 4, 4, 4), (2, 2, 8, 8), (2, 6, 4, 4))
    logits, feature, teacher_logits, teacher_feature = (torch.randn(shape, generator=rng) for shape in shapes)

    def total(logits, feature):
        terms = criterion(logits, teacher_logits, {"encoder.3": feature}, {"x3_0": teacher_feature})
        return sum(terms.values())

    torch._dynamo.reset()
    results = []
    for function in (total, torch.compile(total, backend="aot_eager", fullgraph=True)):
        leaves = [logits.clone().requires_grad_(), feature.clone().requires_grad_(), criterion.adapters["gram"].weight]
        value = function(*leaves[:2])
        results.append([value.detach(), *torch.autograd.grad(value, leaves)])
    torch.testing.assert_close(results[1], results[0])
