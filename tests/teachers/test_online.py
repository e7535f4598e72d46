# SPDX-License-Identifier: Apache-2.0
"""How the teacher is run: types, memory order, compiling, and what is kept afterwards."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.teachers.online import OnlineTeacher
from akd_monai.teachers.options import TeacherOptions

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1)).eval()


def look(image, layers=("1",), **options):
    return OnlineTeacher(network(), layers, TeacherOptions(**options), CPU)(image, None)


def test_half_precision_and_memory_order_change_values_by_rounding_only():
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    logits, features = look(image)
    scale = logits.abs().max()
    ordered, _ = look(image, channels_last=True)
    torch.testing.assert_close(ordered, logits, rtol=1e-5, atol=1e-5)
    half, taps = look(image, dtype="bfloat16", channels_last=True)
    assert half.dtype == taps["1"].dtype == torch.bfloat16
    assert 0 < (half.float() - logits).abs().max() < 0.02 * scale
    assert (half.argmax(1) == logits.argmax(1)).float().mean() > 0.98
    assert features["1"].shape == taps["1"].shape


def test_a_cpu_is_given_one_image_at_a_time_and_its_batch_changes_no_bit():
    image = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    sizes, watched = [], network()
    watched.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    teacher = OnlineTeacher(watched, ["1"], TeacherOptions(), CPU)
    logits, features = teacher(image, None)
    assert sizes == [1] * 5
    assert teacher.computed == teacher.served == 5
    torch.testing.assert_close(logits, network()(image))
    for number in range(5):
        alone, taps = look(image[number : number + 1])
        assert torch.equal(alone[0], logits[number])
        assert torch.equal(taps["1"][0], features["1"][number])


def test_nothing_has_a_graph_and_nothing_is_kept():
    teacher = OnlineTeacher(network(), ["1"], TeacherOptions(), CPU)
    logits, features = teacher(torch.zeros(1, 1, 8, 8), None)
    assert not logits.requires_grad
    assert not features["1"].requires_grad
    alive = weakref.ref(features["1"])
    del features
    gc.collect()
    assert alive() is None


def test_another_computing_is_another_identity():
    facts = [
        OnlineTeacher(network(), [], TeacherOptions(**options), CPU).identity()
        for options in (
            {},
            {"dtype": "bfloat16"},
            {"channels_last": True},
            {"compile": True},
            {"compile": "reduce-overhead"},
        )
    ]
    assert len({str(fact) for fact in facts}) == 5
    assert len({fact["weights"] for fact in facts}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + 0.5 * x.abs().max(), "changes the teacher's logits by"),
        # within the tolerance of values, but every pixel is decided the other way
        (lambda x: x.flip(1), "changes the teacher's"),
    ],
)
def test_a_compiled_network_that_differs_is_refused(monkeypatch, change, message):
    class Wrong(nn.Module):
        def __init__(self, inner, mode):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return change(self.inner(x))

    monkeypatch.setattr(torch, "compile", Wrong)
    with pytest.raises(InputError, match=message):
        look(torch.randn(1, 1, 16, 16), compile=True)


def test_a_decision_that_compiling_turns_round_is_refused(monkeypatch):
    class NearTie(nn.Module):
        """Two classes a rounding error apart, far above 0."""

        def forward(self, x):
            return torch.cat([x + 100, x + 100.001], 1)

    class Swapped(nn.Module):
        def __init__(self, inner, mode):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x).flip(1)

    monkeypatch.setattr(torch, "compile", Swapped)
    teacher = OnlineTeacher(NearTie(), [], TeacherOptions(compile=True), CPU)
    with pytest.raises(InputError, match=r"changes the teacher's decision in 100.00 % of the pixels"):
        teacher(torch.zeros(1, 1, 4, 4), None)


@pytest.mark.parametrize(("asked", "mode"), [(True, None), ("reduce-overhead", "reduce-overhead")])
def test_an_equal_compiled_network_is_used_with_its_features(monkeypatch, asked, mode):
    wrapped = []
    monkeypatch.setattr(torch, "compile", lambda inner, mode: wrapped.append(mode) or nn.Sequential(inner))
    image = torch.randn(1, 1, 16, 16)
    teacher = OnlineTeacher(network(), ["1"], TeacherOptions(compile=asked), CPU)
    for _ in range(2):
        logits, features = teacher(image, None)
    plain, taps = look(image)
    assert torch.equal(logits, plain)
    assert torch.equal(features["1"], taps["1"])
    assert wrapped == [mode]


def test_images_of_a_size_that_the_teacher_does_not_take_are_one_line():
    halved = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.Flatten(), nn.Linear(32, 4))
    teacher = OnlineTeacher(halved.eval(), (), TeacherOptions(), CPU)
    said = (
        r"teacher: cannot process the student's images of shape \[1, 1, 6, 6\]: .*shapes cannot be multiplied.*; crop"
    )
    with pytest.raises(InputError, match=said):
        teacher(torch.zeros(1, 1, 6, 6), None)


def test_memory_that_runs_out_in_the_teacher_is_not_called_a_wrong_size():
    class Full(nn.Module):
        def forward(self, image):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(torch.OutOfMemoryError):
        OnlineTeacher(Full().eval(), (), TeacherOptions(), CPU)(torch.zeros(1, 1, 6, 6), None)
