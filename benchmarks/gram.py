# SPDX-License-Identifier: Apache-2.0
"""The Gram loss after an adapter: plainly written, with our backward pass, and without the adapted map."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from akd_monai.losses import gram_loss
from benchmarks.common import Result, Settings, check_equal, interleaved, peak_bytes, times

# student's channels, teacher's channels, side: ENet, ESPNet and ERFNet have 128 or 256, the teachers 512 and 2048
CASES = [(128, 512, 48), (256, 512, 48), (128, 2048, 48)]
BATCH = 4


def plain(student: Tensor, weight: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss as it is usually written: convolve, normalise, multiply, all by autograd."""
    ours = F.normalize(F.conv2d(student, weight).flatten(1))
    theirs = F.normalize(teacher.flatten(1))
    difference = ours @ ours.T - theirs @ theirs.T
    return difference.square().mean() + difference.abs().mean()


def convolved(student: Tensor, weight: Tensor, teacher: Tensor) -> Tensor:
    """Return the package's loss of the adapted map."""
    return gram_loss(F.conv2d(student, weight), teacher)


def inside(student: Tensor, weight: Tensor, teacher: Tensor) -> Tensor:
    """Return the package's loss with the adapter inside, as training calls it."""
    return gram_loss(student, teacher, adapter=weight.flatten(1))


WAYS = {"plain": plain, "ours, adapter first": convolved, "ours, adapter inside": inside}


def run(settings: Settings) -> Result:
    """Measure every case."""
    result = Result(
        "Gram loss behind an adapter",
        f"Forward and backward for {BATCH} samples: a 1x1 convolution to the teacher's channels, then the distance of two"
        " Gram matrices of samples, against the same written plainly. Peak memory in megabytes beyond the inputs. Values"
        " agree to 1e-5 and gradients to 1e-2 of their largest entry.",
        ["student's map", "teacher's channels", "way", "ms", "faster", "peak MB"],
    )
    for channels, mapped, side in CASES:
        _measure(result, settings, channels, mapped, 8 if settings.quick else side)
    return result


def _measure(result: Result, settings: Settings, channels: int, mapped: int, side: int) -> None:
    rng = torch.Generator().manual_seed(0)
    student = torch.randn(BATCH, channels, side, side, generator=rng).to(settings.device)
    teacher = torch.randn(BATCH, mapped, side, side, generator=rng).to(settings.device)
    weight = (torch.randn(mapped, channels, 1, 1, generator=rng) / channels**0.5).to(settings.device)

    def work(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], list[Tensor]]:
        def step() -> list[Tensor]:
            leaves = [student.detach().requires_grad_(), weight.detach().requires_grad_()]
            value = loss(*leaves, teacher)
            return [value.detach(), *torch.autograd.grad(value, leaves)]

        return step

    works = {name: work(loss) for name, loss in WAYS.items()}
    expected = works["plain"]()
    for name, each in works.items():
        (value, *found), (wanted, *gradients) = each(), expected
        check_equal(f"Gram loss, {name}, {channels} channels", value, wanted, rtol=0, atol=1e-5)
        for ours, theirs in zip(found, gradients, strict=True):
            atol = 1e-2 * theirs.abs().max().item()
            check_equal(f"gradient of the Gram loss, {name}, {channels} channels", ours, theirs, rtol=0, atol=atol)
    timing = interleaved(works, settings)
    for name, each in works.items():
        peak = peak_bytes(each, settings.device) / 1e6
        faster = times(timing["plain"], timing[name])
        size = f"{BATCH} x {channels} x {side} x {side}"
        result.rows.append([size, str(mapped), name, timing[name].text(), f"{faster:.3g}x", f"{peak:.3g}"])
