# SPDX-License-Identifier: Apache-2.0
"""What a teacher cache takes on disk, and how fast it is read, beside a file for each slice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from akd_monai.losses import LogitsKLLoss
from akd_monai.teachers import TeacherCache
from akd_monai.teachers._folders import create_store
from akd_monai.teachers._identity import sample_key
from akd_monai.teachers._rows import RowStore
from akd_monai.teachers._store import OutputStore
from benchmarks.common import Goal, Result, Settings, check_equal, interleaved, times

BATCH = 16
FACTS = {"weights": "none, synthetic logits"}


def make_logits(count: int, side: int) -> list[torch.Tensor]:
    """Return synthetic two-class logits of the size that trained networks give, a disc before a background."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, side)
    disc = 8 - 30 * (axis[:, None] ** 2 + axis[None] ** 2)
    noise = torch.randn((count, 2, side, side), generator=generator)
    # a tensor each: a view would be saved with all the others
    return [logits.clone() for logits in noise + torch.stack([-disc, disc]).clamp(-12, 12)]


class Reads:
    """Read batches of 16 random slices in one of the ways; all give the same batches."""

    def __init__(self, folder: Path, outputs: list[torch.Tensor]) -> None:
        self.folder = folder
        self.outputs = outputs
        self.draw = np.random.default_rng(0)
        self.stores: dict[str, OutputStore] = {}
        self.keys = [sample_key("synthetic", number, 0) for number in range(len(outputs))]
        for number, logits in enumerate(outputs):
            torch.save(logits, folder / f"{number}.pt")
        for dtype in ("float32", "float16"):
            store = self._open(dtype)
            for number, (key, logits) in enumerate(zip(self.keys, outputs, strict=True)):
                store.append(key, number, logits)
            self.stores[dtype] = self._open(dtype)
        # the store of float16 is the newer one
        described = max((folder / "cache").rglob("about.json"), key=lambda path: path.stat().st_mtime_ns)
        self.rows = RowStore(described.parent, self.stores["float16"].row_bytes)

    def _open(self, dtype: str) -> OutputStore:
        shape = tuple(self.outputs[0].shape)
        return create_store(TeacherCache(self.folder / "cache", dtype), FACTS, "", (1, *shape[1:]), shape)

    def numbers(self) -> list[int]:
        """Return the slices of a batch."""
        return self.draw.integers(0, len(self.outputs), BATCH).tolist()

    def found(self, dtype: str, numbers: list[int]) -> list[bytes]:
        """Return the keys of the slices, each looked up as a training does."""
        keys = [self.keys[number] for number in numbers]
        return [key for key in keys if self.stores[dtype].find(key) is not None]

    def pickles(self, numbers: list[int]) -> torch.Tensor:
        """Load a file for each slice."""
        return torch.stack([torch.load(self.folder / f"{number}.pt") for number in numbers])

    def logits(self, dtype: str, numbers: list[int]) -> torch.Tensor:
        """Read logits, in float32 whatever they are stored in."""
        return self.stores[dtype].read(self.found(dtype, numbers))

    def labels(self, numbers: list[int]) -> torch.Tensor:
        """Read decisions alone."""
        return self.stores["float16"].read_decisions(self.found("float16", numbers))

    def stored_bytes(self, numbers: list[int]) -> np.ndarray:
        """Read differences and labels as they are stored, for instance to decode them on a GPU."""
        return self.rows.read(self.found("float16", numbers))


def gradient_error(exact: torch.Tensor, decoded: torch.Tensor, direction: str) -> float:
    """Return how much the logits loss's gradient changes, relative to its norm."""
    student = 2 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))
    gradients = []
    for teacher in (exact, decoded):
        leaf = student.clone().requires_grad_()
        LogitsKLLoss(direction=direction)(leaf, teacher).backward()
        if leaf.grad is not None:
            gradients.append(leaf.grad)
    return ((gradients[0] - gradients[1]).norm() / gradients[0].norm()).item()


def run(settings: Settings) -> Result:
    """Measure size, reading and rounding."""
    folder = Path(tempfile.mkdtemp(prefix="akd_benchmark_"))
    try:
        return _run(
            settings, Reads(folder, make_logits(BATCH if settings.quick else 64, 64 if settings.quick else 384))
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(settings: Settings, reads: Reads) -> Result:
    numbers = reads.numbers()
    expected = reads.pickles(numbers)
    check_equal("float32 cache", reads.logits("float32", numbers), expected, rtol=0, atol=0)
    half = reads.logits("float16", numbers)
    check_equal("decisions of the float16 cache", half.argmax(1), expected.argmax(1))
    check_equal("decisions alone", reads.labels(numbers).argmax(1), expected.argmax(1))
    works: dict[str, Callable[[], object]] = {
        "a file for each slice, float32 logits (torch.load)": lambda: reads.pickles(reads.numbers()),
        "cache, float32 logits": lambda: reads.logits("float32", reads.numbers()),
        "cache, float16 differences, decoded to float32 logits": lambda: reads.logits("float16", reads.numbers()),
        "cache, float16 differences and label bits as stored": lambda: reads.stored_bytes(reads.numbers()),
        "cache, decisions alone": lambda: reads.labels(reads.numbers()),
    }
    timing = interleaved(works, settings)
    files, *others = timing
    side = reads.outputs[0].shape[-1]
    result = Result(
        "Teacher cache",
        f"Reading the teacher's logits for {BATCH} random slices of {side} x {side} out of {len(reads.outputs)}, pages in "
        "memory; two classes, synthetic logits.",
        ["way", "kB a slice", "ms for 16", "times files"],
    )
    exact, packed = (reads.stores[dtype].row_bytes / 1000 for dtype in ("float32", "float16"))
    sizes = [(reads.folder / "0.pt").stat().st_size / 1000, exact, packed, packed, packed]
    for name, size in zip((files, *others), sizes, strict=True):
        result.rows.append([name, f"{size:.4g}", timing[name].text(), f"{times(timing[files], timing[name]):.3g}x"])
    errors = {way: gradient_error(expected, half, way) for way in ("student_teacher", "teacher_student")}
    kept = max(gradient_error(expected, reads.logits("float32", numbers), way) for way in errors)
    copying = "a file is opened for each slice, and 4.7 MB are copied for 16, at the speed of memory"
    result.goals += [
        Goal("cache, kB for a slice of 384 x 384 (half precision, with labels)", 320, packed, at_most=True),
        Goal(
            "cache, reading as stored against a file each", 20, times(timing[files], timing[others[2]]), floor=copying
        ),
        Goal("cache, change of the logits gradient, float16", 5e-4, max(errors.values()), at_most=True),
        Goal("cache, change of the logits gradient, float32", 0.0, kept, at_most=True),
    ]
    return result
