# SPDX-License-Identifier: Apache-2.0
"""A student's own training step with this package's vectorized PReLU and batch normalization and with PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from monai.losses import DiceFocalLoss
from torch import Tensor, nn

from akd_monai.networks.layers import VectorizedBatchNorm2d, VectorizedPReLU
from benchmarks.affinity import make_labels
from benchmarks.common import Result, Settings, check_equal, interleaved, times
from benchmarks.losses import STUDENTS


def as_pytorch(network: nn.Module) -> nn.Module:
    """Return a copy whose PReLUs and batch normalizations are PyTorch's."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, VectorizedPReLU):
                setattr(module, name, nn.PReLU(child.num_parameters))
            elif isinstance(child, VectorizedBatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(child.num_features, child.eps, child.momentum))
            else:
                continue
            getattr(module, name).load_state_dict(child.state_dict())
    return network


def training_step(network: nn.Module, image: Tensor, label: Tensor) -> Callable[[], Tensor]:
    """Return a work that does one step and returns its loss."""
    task = DiceFocalLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

    def work() -> Tensor:
        optimizer.zero_grad()
        loss = task(network(image), label)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return work


def run(settings: Settings) -> Result:
    """Measure every student."""
    side = 64 if settings.quick else 384
    result = Result(
        "Students with faster PReLU and batch normalization",
        f"One training step (forward, Dice + focal loss, backward, Adam) on 2 slices of {side} x {side} with PyTorch's"
        " modules and with the package's, which use the CPU's vectors for the slope's gradient and for the statistics of a"
        " batch; the losses of the first step agree to 1e-5, those of the second to 5e-3. ERFNet has no PReLU.",
        ["student", "PyTorch's ms", "ours ms", "faster", "share of the step that is saved"],
    )
    label = make_labels(2, side, 0.0)[:, None].float().to(settings.device)
    image = (torch.randn(label.shape, generator=torch.Generator().manual_seed(0)) + 2 * label.cpu()).to(settings.device)
    for name, kind in STUDENTS.items():
        torch.manual_seed(0)
        network = kind(spatial_dims=2, in_channels=1, out_channels=2, dropout=0.0).to(settings.device)
        works = {
            "theirs": training_step(as_pytorch(network), image, label),
            "ours": training_step(network, image, label),
        }
        # Where a gradient vanishes, Adam's first step is that of a rounding.
        for which, rtol in (("first", 1e-5), ("second", 5e-3)):
            check_equal(f"{name}, loss of the {which} step", works["ours"](), works["theirs"](), rtol=rtol)
        timing = interleaved(works, settings)
        gain = times(timing["theirs"], timing["ours"])
        row = [name, timing["theirs"].text(), timing["ours"].text(), f"{gain:.3g}x", f"{1 - 1 / gain:.0%}"]
        result.rows.append(row)
    return result
