# SPDX-License-Identifier: Apache-2.0
"""The affinity loss against its usual form, and how much of that form's time is memory taken from the system."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.affinity import CASES, inputs, naive, named, ours, step
from benchmarks.common import Goal, Result, Settings, Timing, check_equal, interleaved, times
from benchmarks.recycled import is_recycling_possible, page_faults, with_recycled_memory

FORMS = ("naive", "lean", "ours")
Measured = list[tuple[dict[str, Timing], dict[str, int]]]
# (shape, kernel, noise): times faster than naive, in memory that the system gives at every call
GOALS = {
    ((4, 64, 96, 96), 3, 0.0): 30,
    ((4, 64, 96, 96), 5, 0.0): 50,
    ((2, 2, 384, 384), 3, 0.0): 15,
    ((4, 64, 96, 96), 3, 0.2): 18,
}


def lean(scores: Tensor, labels: Tensor, kernel: int, margin: float = 3.0) -> Tensor:
    """Return the loss by an unfolded map that is summed by a product of matrices: no second map of its size."""
    batch, channels = scores.shape[:2]
    log_p = torch.log_softmax(scores, 1)
    unfolded = F.unfold(log_p, kernel, padding=kernel // 2).view(batch, channels, kernel**2, -1)
    p = log_p.exp().flatten(2)
    entropy = (p * log_p.flatten(2)).sum(1)
    divergence = entropy[:, None] - torch.einsum("bcn,bckn->bkn", p, unfolded)
    codes = labels[:, None].to(scores.dtype) + 1  # 0 is outside
    around = F.unfold(codes, kernel, padding=kernel // 2)
    inside = around > 0
    inside[:, kernel**2 // 2] = False
    same = (around == codes.flatten(2)) & inside
    different = inside & ~same
    attract = (divergence * same).sum() / same.sum().clamp(min=1)
    return attract + ((margin - divergence).relu() * different).sum() / different.sum().clamp(min=1)


def measured(settings: Settings) -> Measured:
    """Return times and page faults of a call of each form, case by case, as this process has its memory."""
    torch.set_num_threads(1)
    found = []
    for shape, kernel, noise in CASES:
        scores, labels = inputs(settings, shape, noise)
        forms = {"naive": naive, "lean": lean, "ours": ours}
        works = {name: step(loss, scores, labels, kernel) for name, loss in forms.items()}
        expected = works["naive"]()
        for name in ("lean", "ours"):
            check_equal(f"affinity loss, {name}, {shape}, kernel {kernel}", works[name](), expected)
        faults = {name: page_faults(work) for name, work in works.items()}
        found.append((interleaved(works, settings), faults))
    return found


def run(settings: Settings) -> Result:
    """Measure every case in fresh and in recycled memory."""
    result = Result(
        "Affinity loss against its usual form, and page faults",
        "The usual form (naive: unfold and kl_div) and a leaner one (unfold and a product of matrices) against ours, forward"
        " and backward. A page fault is the first touch of 4 kB, or more where the system gives larger pages. Fresh: the C"
        " library as it is, which gives large blocks back when they are freed. Recycled: a process of its own with"
        " MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_ so large that it keeps all. The share is what naive loses from fresh"
        " to recycled, so how much of its time is memory alone.",
        [
            *("map", "kernel", "labels", "recycled: naive ms", "lean ms", "ours ms", "faster than naive", "than lean"),
            *("fresh: naive ms", "ours ms", "faster than naive", "page faults naive", "page faults ours", "share"),
        ],
    )
    if settings.device != "cpu":
        result.notes.append("On a GPU memory is kept by PyTorch itself.")
        return result
    fresh = measured(settings)
    # a quick run asks whether everything runs; the other process has a test of its own
    recycled = fresh if settings.quick or not is_recycling_possible() else with_recycled_memory(measured, settings)
    if not is_recycling_possible():
        result.notes.append("This C library has no such settings: recycled is as fresh.")
    for case, new, kept in zip(CASES, fresh, recycled, strict=True):
        _row(result, settings, case, new, kept)
    return result


def _row(
    result: Result,
    settings: Settings,
    case: tuple[tuple[int, int, int, int], int, float],
    fresh: tuple[dict[str, Timing], dict[str, int]],
    recycled: tuple[dict[str, Timing], dict[str, int]],
) -> None:
    shape, kernel, noise = case
    timing, faults = fresh
    kept, _ = recycled
    faster = times(timing["naive"], timing["ours"])
    result.rows.append(
        [
            *named(inputs(settings, shape, noise)[0], kernel, noise),
            *(kept[name].text() for name in FORMS),
            *(f"{times(kept[name], kept['ours']):.3g}x" for name in ("naive", "lean")),
            *(timing[name].text() for name in ("naive", "ours")),
            f"{faster:.3g}x",
            *(f"{faults[name]:,}" for name in ("naive", "ours")),
            f"{max(0.0, 1 - kept['naive'].median / timing['naive'].median):.0%}",
        ]
    )
    if case in GOALS:
        where = f"{' x '.join(map(str, shape))}, kernel {kernel}, {noise:.0%} flipped"
        floor = (
            "the time is that of nine passes over the map and two exponentials a value; naive varies with the caches"
        )
        goal = f"affinity {where}: times faster than naive, fresh memory"
        result.goals.append(Goal(goal, GOALS[case], faster, floor=floor))
