# SPDX-License-Identifier: Apache-2.0
"""What a mask costs from file to file: CPU seconds of each step and memory, for each bundle and engine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from akd_monai.deploy._engines import installed_engines
from akd_monai.deploy._stages import Stages, stages_in_fresh_process
from akd_monai.deploy._trial_volumes import write_synthetic_volume
from akd_monai.errors import InputError
from akd_monai.files import as_path, atomic_write
from akd_monai.tables import markdown_table

__all__ = ["profile_segmentation"]

_COLUMNS = [
    "bundle",
    "engine",
    "start",
    "reading",
    "preparing",
    "network",
    "finishing",
    "writing",
    "a volume",
    "peak MB",
]
_TIMES = ("start", "reading", "preparing", "network", "finishing", "writing", "volume")


def profile_segmentation(
    bundles: Sequence[str | Path],
    *,
    volume: str | Path | None = None,
    engines: Sequence[str] | None = None,
    threads: int = 1,
    repeats: int = 1,
    as_json: bool = False,
    output_file: str | Path | None = None,
    trust_bundle: bool = False,
) -> str:
    """Return a table of CPU seconds (user and system) and memory from a volume's file to its mask's.

    Each bundle runs in each engine in a process of its own: the exported network in ONNX Runtime and OpenVINO, where they
    are installed and it was exported, the other one in PyTorch where that is installed. ``start`` is everything before
    the first volume: imports and the opening of the network. The columns after it are medians over ``repeats`` volumes.

    Args:
        bundles: folders, for example of a student and its teacher, or ONNX files.
        volume: an image; by default a synthetic one of 320 x 320 x 24 voxels.
        engines: of ``onnxruntime``, ``openvino`` and ``torch``; by default all that can run the bundle.
        threads: of each engine.
        repeats: how often the volume is segmented.
        as_json: return JSON instead of the table.
        output_file: also write the table, or JSON to a file that ends in ``.json``.
        trust_bundle: for ``torch``: evaluate expressions in the bundles' configs and import what they name; only for
            bundles whose author you trust.

    Raises:
        InputError: for no bundle, one that no engine can run, or a volume that cannot be read.

    Example:
        >>> profile_segmentation([])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: there is nothing to profile; give a bundle: python -m akd_monai profile BUNDLE ...
    """
    if not bundles:
        remedy = "give a bundle: python -m akd_monai profile BUNDLE --end_to_end"
        raise InputError("there is nothing to profile", remedy=remedy)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InputError(f"repeats must be an integer of 1 or more, got {repeats!r}.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        image = as_path(volume, "volume") if volume is not None else write_synthetic_volume(Path(folder) / "t2.nii.gz")
        for bundle in bundles:
            path = as_path(bundle, "bundles")
            for engine in _engines(path, engines):
                found = stages_in_fresh_process(
                    path, image, Path(folder) / "mask.nii.gz",
                    engine=engine, threads=threads, repeats=repeats, trust_bundle=trust_bundle,
                )  # fmt: skip
                rows.append((path.resolve().name, found))
    what = "a synthetic volume of 320 x 320 x 24 voxels" if volume is None else "the given volume"
    return _written(rows, what, threads, repeats, as_json, output_file)


def _engines(path: Path, wanted: Sequence[str] | None) -> Iterator[str]:
    """Yield the engines that can run a bundle, in the order of the table."""
    if wanted is not None:
        yield from wanted
        return
    is_file = path.suffix.lower() == ".onnx"
    can_run = list(installed_engines()) if is_file or (path / "models" / "model.onnx").is_file() else []
    if not is_file and (path / "models" / "model.pt").is_file():
        can_run.append("torch")
    if not can_run:
        what = "has neither an exported network that an installed engine runs, nor weights"
        remedy = f"run python -m akd_monai export {path}, and pip install onnxruntime"
        raise InputError(what, where=str(path), remedy=remedy, code="no-model")
    yield from can_run


def _written(
    rows: Sequence[tuple[str, Stages]],
    what: str,
    threads: int,
    repeats: int,
    as_json: bool,
    output_file: str | Path | None,
) -> str:
    cells = [_cells(name, stages) for name, stages in rows]
    note = f"CPU seconds, {what}, {threads} thread(s), the median of {repeats}; 'a volume' leaves the start out."
    table = f"{markdown_table(_COLUMNS, cells)}\n\n{note}"
    profiles = [{"bundle": name, **asdict(stages), "volume": stages.volume} for name, stages in rows]
    facts = json.dumps({"volume": what, "threads": threads, "repeats": repeats, "profiles": profiles}, indent=2)
    if output_file is not None:
        target = as_path(output_file, "output_file")
        atomic_write(target, f"{facts if target.suffix == '.json' else table}\n".encode())
    return facts if as_json else table


def _cells(name: str, stages: Stages) -> list[str]:
    engine = f"{stages.engine}, {stages.precision}"
    return [name, engine, *(f"{getattr(stages, stage):.2f}" for stage in _TIMES), f"{stages.peak_mb:.0f}"]
