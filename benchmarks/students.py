# SPDX-License-Identifier: Apache-2.0
"""A student's own training step with this package's PReLU and with PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from monai.losses import DiceFocalLoss
from torch import Tensor, nn

from akd_monai.networks.nets import ENet, ESPNet
from akd_monai.networks.nets.prelu import PReLU
from benchmarks.affinity import make_labels
from benchmarks.common import Result, Settings, check_equal, interleaved, times

STUDENTS: dict[str, type[nn.Module]] = {"ENet": ENet, "ESPNet": ESPNet}


def with_torch_prelu(network: nn.Module) -> nn.Module:
    """Return a copy whose PReLUs are PyTorch's."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, PReLU):
                other = nn.PReLU(child.num_parameters)
                other.load_state_dict(child.state_dict())
                setattr(module, name, other)
    return network


def training_step(network: nn.Module, image: Tensor, label: Tensor) -> Callable[[], Tensor]:
    """Return a work that does one step and returns its loss."""
    task = DiceFocalLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def work() -> Tensor:
        optimizer.zero_grad()
        loss = task(network(image), label)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return work


def run(settings: Settings) -> Result:
    """Measure both students that use it."""
    side = 64 if settings.quick else 384
    result = Result(
        "Students with a faster PReLU",
        f"One training step (forward, Dice + focal loss, backward, Adam) on 2 slices of {side} x {side} with"
        " torch.nn.PReLU and with the package's, whose backward pass uses the CPU's vectors; the losses of the first two"
        " steps agree to 1e-5.",
        ["student", "torch.nn.PReLU ms", "ours ms", "faster", "share of the step that is saved"],
    )
    label = make_labels(2, side, 0.0)[:, None].float().to(settings.device)
    image = (torch.randn(label.shape, generator=torch.Generator().manual_seed(0)) + 2 * label.cpu()).to(settings.device)
    for name, kind in STUDENTS.items():
        torch.manual_seed(0)
        network = kind(spatial_dims=2, in_channels=1, out_channels=2, dropout=0.0).to(settings.device)
        works = {
            "theirs": training_step(with_torch_prelu(network), image, label),
            "ours": training_step(network, image, label),
        }
        for _ in range(2):
            check_equal(f"{name}, loss of a step", works["ours"](), works["theirs"](), rtol=1e-5)
        timing = interleaved(works, settings)
        gain = times(timing["theirs"], timing["ours"])
        row = [name, timing["theirs"].text(), timing["ours"].text(), f"{gain:.3g}x", f"{1 - 1 / gain:.0%}"]
        result.rows.append(row)
    return result
