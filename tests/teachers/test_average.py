# SPDX-License-Identifier: Apache-2.0
"""An average of the student as its teacher: its weights by hand, what skips a step, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.losses import DistillationCriterion
from akd_monai.teachers import EmaTeacher, teacher_source
from akd_monai.teachers._target_norm import target_norm

CPU = torch.device("cpu")


def student() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout2d(0.5), nn.Conv2d(2, 2, 1))


def step(network: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    image = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    network.train()(image).square().mean().backward()
    optimizer.step()


def weights(network: nn.Module) -> list[np.ndarray]:
    return [parameter.detach().double().numpy().copy() for parameter in network.parameters()]


def test_three_steps_are_those_by_hand():
    network = student()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    teacher = EmaTeacher(decay=0.7).follow(network, optimizer)
    expected = weights(network)
    for number in range(3):
        step(network, optimizer, number)
        expected = [0.7 * mean + 0.3 * now for mean, now in zip(expected, weights(network), strict=True)]
    for found, mean in zip(weights(teacher.network), expected, strict=True):
        np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-7)
    # the average lags
    assert np.abs(expected[-1] - weights(network)[-1]).max() > 0.01
    # buffers are the student's, not an average
    for found, now in zip(teacher.network.buffers(), network.buffers(), strict=True):
        assert torch.equal(found, now)


def test_it_is_in_eval_mode_without_gradients_and_shares_no_weight():
    network = student().train()
    teacher = EmaTeacher().follow(network)
    assert not any(module.training for module in teacher.network.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    image = torch.rand(1, 1, 5, 5)
    assert torch.equal(teacher(image), teacher(image))
    own = {parameter.data_ptr() for parameter in network.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in teacher.parameters())


def test_weights_that_are_loaded_before_the_first_step_are_taken_over_and_none_later():
    network = student()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    teacher = EmaTeacher(0.5).follow(network, optimizer)
    with torch.no_grad():
        network[3].bias.fill_(7)
    teacher.restart(network)
    assert teacher.network[3].bias.tolist() == [7, 7]
    step(network, optimizer, 0)
    averaged = weights(teacher.network)
    teacher.restart(network)
    assert all(np.array_equal(one, other) for one, other in zip(weights(teacher.network), averaged, strict=True))


def test_a_step_that_a_fused_optimizer_skips_after_an_overflow_is_not_averaged():
    network = student()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, fused=True)
    teacher = EmaTeacher(0.5).follow(network, optimizer)
    # as a gradient scaler sets them
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.grad_scale = torch.tensor(1.0)
    step(network, optimizer, 0)
    assert int(teacher.average.n_averaged) == 1


def test_a_state_is_put_back():
    network = student()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    teacher = EmaTeacher(0.5).follow(network, optimizer)
    step(network, optimizer, 0)
    other = EmaTeacher(0.5).follow(student())
    other.load_state_dict(teacher.state_dict())
    assert all(np.array_equal(a, b) for a, b in zip(weights(other.network), weights(teacher.network), strict=True))
    # so that a resumed run does not take over the student's weights
    assert int(other.average.n_averaged) == 2


@pytest.mark.parametrize("decay", [1.0, -0.1, "0.9", True, float("nan")])
def test_another_decay_is_refused(decay):
    with pytest.raises(InputError, match="ema_decay must be a number of at least 0 and below 1, got"):
        EmaTeacher(decay)


def test_a_cache_and_batch_statistics_of_its_own_are_refused(tmp_path):
    teacher = EmaTeacher().follow(student())
    terms = DistillationCriterion([{"name": "soft", "loss": "logits"}])
    with pytest.raises(InputError, match="change with every step and cannot be cached; leave out teacher_cache"):
        teacher_source(teacher, terms, {"cache_dir": tmp_path}, CPU)
    with pytest.raises(InputError, match="an average of the student has the student's own batch statistics"):
        target_norm(teacher, {"norm": "target"})
    with pytest.raises(InputError, match="has no weights before it follows one"):
        EmaTeacher()(torch.rand(1, 1, 5, 5))
