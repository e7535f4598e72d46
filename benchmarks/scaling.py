# SPDX-License-Identifier: Apache-2.0
"""How the affinity loss grows with the batch, the map and the window."""

from __future__ import annotations

import torch

from benchmarks.affinity import make_labels, naive, ours, step
from benchmarks.common import Result, Settings, check_equal, interleaved, peak_bytes, times

# batch, channels, side, kernel
CASES = [
    *[(batch, 64, 96, 3) for batch in (1, 2, 4, 8, 16)],
    *[(4, 64, side, 3) for side in (24, 48, 192)],
    *[(4, 64, 96, kernel) for kernel in (5, 7, 9)],
    *[(batch, 2, 384, 3) for batch in (1, 4, 16)],
    *[(2, 2, 384, kernel) for kernel in (5, 9)],
]
# The naive form unfolds the map: beyond this many bytes it is left out.
NAIVE_LIMIT = 3 * 2**30


def run(settings: Settings) -> Result:
    """Measure every case."""
    result = Result(
        "Affinity loss by batch, size and window",
        "Forward and backward of the package's loss on decided labels (an ellipse a sample): time for one value of the map"
        " (nanoseconds) and peak memory in maps, beside the naive form where that would hold less than 3 GiB.",
        ["map", "kernel", "ours ms", "ns a value", "peak, maps", "naive ms", "faster"],
    )
    for batch, channels, side, kernel in CASES:
        _measure(result, settings, (batch, channels, 16 if settings.quick else side), kernel)
    return result


def _measure(result: Result, settings: Settings, shape: tuple[int, int, int], kernel: int) -> None:
    batch, channels, side = shape
    scores = torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(1)).to(settings.device)
    labels = make_labels(batch, side, 0.0).to(settings.device)
    works = {"ours": step(ours, scores, labels, kernel)}
    if 6 * kernel**2 * scores.nbytes < NAIVE_LIMIT:
        works["naive"] = step(naive, scores, labels, kernel)
        check_equal(f"affinity loss, {shape}, kernel {kernel}", works["ours"](), works["naive"]())
    timing = interleaved(works, settings)
    mine = timing["ours"]
    row = [f"{batch} x {channels} x {side} x {side}", str(kernel), mine.text()]
    row += [f"{1e9 * mine.median / scores.numel():.3g}"]
    row += [f"{peak_bytes(works['ours'], settings.device) / scores.nbytes:.2f}"]
    slow = timing.get("naive")
    result.rows.append([*row, slow.text() if slow else "", f"{times(slow, mine):.3g}x" if slow else ""])
