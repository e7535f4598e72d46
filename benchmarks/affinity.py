# SPDX-License-Identifier: Apache-2.0
"""The affinity loss, forward and backward, against a public implementation and torch.compile."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from akd_monai.losses import affinity_loss
from benchmarks.common import Goal, Result, Settings, Timing, check_equal, interleaved, peak_bytes, times

Loss = Callable[[Tensor, Tensor, int], Tensor]
# shape, kernel, share of labels flipped at random
CASES: list[tuple[tuple[int, int, int, int], int, float]] = [
    ((2, 2, 384, 384), 3, 0.0),
    ((2, 2, 384, 384), 5, 0.0),
    ((4, 32, 96, 96), 3, 0.0),
    ((4, 64, 96, 96), 3, 0.0),
    ((4, 64, 96, 96), 5, 0.0),
    ((4, 64, 96, 96), 3, 0.2),
    ((4, 64, 96, 96), 5, 0.2),
    ((4, 128, 48, 48), 3, 0.0),
    ((4, 128, 48, 48), 5, 0.0),
]
# Batches of a training on a GPU; on smaller maps the clock counts launches more than work.
CUDA_CASES: list[tuple[tuple[int, int, int, int], int, float]] = [
    ((16, 64, 96, 96), 3, 0.0),
    ((16, 64, 96, 96), 5, 0.0),
    ((16, 64, 384, 384), 3, 0.0),
]
# (shape, kernel, noise): times less memory than naive
GOALS = {
    ((4, 64, 96, 96), 3, 0.0): 40,
    ((4, 64, 96, 96), 5, 0.0): 90,
    ((2, 2, 384, 384), 3, 0.0): 15,
    ((4, 64, 96, 96), 3, 0.2): 25,
}
PUBLIC_GOAL = 4.0
PUBLIC_FILE = "pytorch_loss/affinity_loss.py"
# On CUDA: over the time of two reads and one write of the map; times faster than naive, than torch.compile.
CUDA_GOALS = (1.6, 10.0, 2.0)


def naive(scores: Tensor, labels: Tensor, kernel: int, margin: float = 3.0) -> Tensor:
    """Return the loss as it is usually written: unfold, divergence of all pairs, two masks."""
    batch, channels = scores.shape[:2]
    log_p = torch.log_softmax(scores, 1)
    unfolded = F.unfold(log_p, kernel, padding=kernel // 2).view(batch, channels, kernel**2, -1)
    codes = labels[:, None].to(scores.dtype) + 1  # 0 is outside
    around = F.unfold(codes, kernel, padding=kernel // 2)
    own = log_p.exp().flatten(2).unsqueeze(2).expand_as(unfolded)
    divergence = F.kl_div(unfolded, own, reduction="none").sum(1)
    inside = around > 0
    inside[:, kernel**2 // 2] = False
    same = (around == codes.flatten(2)) & inside
    different = inside & ~same
    attract = (divergence * same).sum() / same.sum().clamp(min=1)
    return attract + ((margin - divergence).relu() * different).sum() / different.sum().clamp(min=1)


def shifted(scores: Tensor, labels: Tensor, kernel: int) -> Tensor:
    """Return the loss by shifted maps and autograd, the form that torch.compile can fuse."""
    return affinity_loss(scores, labels, kernel=kernel, algorithm="reference")


def ours(scores: Tensor, labels: Tensor, kernel: int) -> Tensor:
    """Return the package's loss as training calls it."""
    return affinity_loss(scores, labels, kernel=kernel)


def public_loss(folder: Path) -> Loss:
    """Return AffinityFieldLoss of a clone of CoinCheung/pytorch-loss. It has another scale, so it is not compared.

    Raises:
        FileNotFoundError: if the folder holds no such file.
    """
    if not (folder / PUBLIC_FILE).is_file():
        raise FileNotFoundError(f"{folder} holds no {PUBLIC_FILE}: give the folder of the clone.")
    # Its package imports CUDA extensions; the file needs one neighbour only.
    package = type(sys)("pytorch_loss")
    package.__path__ = [str(folder / "pytorch_loss")]
    sys.modules["pytorch_loss"] = package
    module = importlib.import_module("pytorch_loss.affinity_loss")
    loss = module.AffinityFieldLoss(kl_margin=3.0)
    return lambda scores, labels, kernel: loss(scores, labels)


def fused(scores: Tensor, labels: Tensor, kernel: int) -> Tensor:
    """Return the package's loss by its CUDA kernel."""
    return affinity_loss(scores, labels, kernel=kernel, algorithm="triton")


def make_labels(batch: int, side: int, noise: float) -> Tensor:
    """Return one ellipse a sample, of the size of a prostate, with a share of the pixels flipped."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    labels = torch.stack([((y - 0.1 * b / batch) / 0.4) ** 2 + (x / 0.5) ** 2 < 1 for b in range(batch)]).long()
    flipped = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < noise
    return torch.where(flipped, 1 - labels, labels)


def step(loss: Loss, scores: Tensor, labels: Tensor, kernel: int) -> Callable[[], list[Tensor]]:
    """Return a work that gives the value of a loss and its gradient."""

    def work() -> list[Tensor]:
        leaf = scores.detach().requires_grad_()
        value = loss(leaf, labels, kernel)
        return [value.detach(), *torch.autograd.grad(value, leaf)]

    return work


def run(settings: Settings) -> Result:
    """Measure every case."""
    on_gpu = settings.device == "cuda"
    result = Result(
        "Affinity loss, forward and backward",
        "Against a public implementation and torch.compile, whose times do not depend on how the C library keeps memory;"
        " against the usual form (unfold and kl_div), whose time does, there is a table of its own. Memory is what a call"
        " holds beyond its inputs at its peak, in maps of the size of the input. Value and gradient equal those of the usual"
        " form to 1e-4.",
        [
            *("map", "kernel", "labels", "ours ms", "public ms", "faster than public", "compiled ms"),
            *("faster than compiled", "peak, maps", "less memory than the usual form"),
            *(("naive ms", "Triton ms", "two reads and a write ms") if on_gpu else ()),
        ],
    )
    public = public_loss(settings.public) if settings.public else None
    if public is None:
        result.notes.append("The public AffinityFieldLoss was not measured: give the folder of its clone by --public.")
    if not settings.compiled:
        result.notes.append("torch.compile was not measured: ask for it by --compiled.")
    for shape, kernel, noise in CASES + (CUDA_CASES if on_gpu else []):
        _measure(result, settings, public, shape, kernel, noise)
    return result


def inputs(settings: Settings, full: tuple[int, int, int, int], noise: float) -> tuple[Tensor, Tensor]:
    """Return scores and labels of a case; small ones for a quick run."""
    shape = (2, *full[1:2], 16, 16) if settings.quick else full
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(settings.device)
    return scores, make_labels(shape[0], shape[2], noise).to(settings.device)


def named(scores: Tensor, kernel: int, noise: float) -> list[str]:
    """Return the cells of a row that say what was measured."""
    return [" x ".join(map(str, scores.shape)), str(kernel), f"{noise:.0%} flipped" if noise else "clean"]


def _measure(
    result: Result, settings: Settings, public: Loss | None, full: tuple[int, int, int, int], kernel: int, noise: float
) -> None:
    scores, labels = inputs(settings, full, noise)
    works = {name: step(loss, scores, labels, kernel) for name, loss in (("naive", naive), ("ours", ours))}
    if settings.compiled:
        works["compiled"] = step(torch.compile(shifted, dynamic=False), scores, labels, kernel)
    if settings.device == "cuda":
        works["triton"] = step(fused, scores, labels, kernel)
    expected = works["naive"]()
    for name in ("ours", "compiled", "triton"):
        if name in works:
            check_equal(f"affinity loss, {name}, {tuple(scores.shape)}, kernel {kernel}", works[name](), expected)
    if public is not None and kernel == 3:
        works["public"] = step(public, scores, labels, kernel)
    if settings.device == "cuda":
        # Two reads and one write of the map: what no kernel can be faster than.
        second, third = torch.randn_like(scores), torch.empty_like(scores)
        works["floor"] = lambda: torch.add(scores, second, out=third)
    peaks = {name: peak_bytes(works[name], settings.device) for name in ("naive", "ours")}
    if settings.device != "cuda":
        del works["naive"]
    timing = interleaved(works, settings)
    less = peaks["naive"] / peaks["ours"]
    row = [*named(scores, kernel, noise), timing["ours"].text()]
    for name in ("public", "compiled"):
        row += _against(timing, name)
    row += [f"{peaks['ours'] / scores.nbytes:.2f}", f"{less:.3g}x"]
    result.rows.append(row + [timing[name].text() for name in ("naive", "triton", "floor") if name in timing])
    _goals(result, settings, timing, less, (full, kernel, noise))


def _against(timing: dict[str, Timing], name: str) -> list[str]:
    if name not in timing:
        return ["", ""]
    return [timing[name].text(), f"{times(timing[name], timing['ours']):.3g}x"]


def _goals(
    result: Result,
    settings: Settings,
    timing: dict[str, Timing],
    less: float,
    case: tuple[tuple[int, int, int, int], int, float],
) -> None:
    full, kernel, noise = case
    where = f"{' x '.join(map(str, full))}, kernel {kernel}, {noise:.0%} flipped"
    if "public" in timing and not noise:
        floor = "softmax, two box sums and their products are nine passes over a map that the caches hold"
        goal = f"affinity {where}: times faster than the public loop"
        result.goals.append(Goal(goal, PUBLIC_GOAL, times(timing["public"], timing["ours"]), floor=floor))
    if case in GOALS and settings.device == "cpu":
        floor = (
            "the gradient is one map; with two channels the masks of pairs and the counts of neighbours cost another"
        )
        result.goals.append(Goal(f"affinity {where}: times less memory than naive", GOALS[case], less, floor=floor))
    if case in CUDA_CASES:
        _cuda_goals(result, timing, where)


def _cuda_goals(result: Result, timing: dict[str, Timing], where: str) -> None:
    ours = timing["triton"]
    bound, faster, than_compiled = CUDA_GOALS
    floor = "small maps take as long as the launches do, about half a millisecond; the rest was not examined"
    what = f"affinity {where}, Triton: over two reads and one write of the map"
    result.goals.append(Goal(what, bound, times(ours, timing["floor"]), at_most=True, floor=floor))
    what = f"affinity {where}, Triton: times faster than naive"
    result.goals.append(Goal(what, faster, times(timing["naive"], ours), floor=floor))
    if "compiled" in timing:
        what = f"affinity {where}, Triton: times faster than torch.compile"
        result.goals.append(Goal(what, than_compiled, times(timing["compiled"], ours), floor=floor))
