# SPDX-License-Identifier: Apache-2.0
"""Cases to calibrate a network on, and others to compare its masks on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle._static import try_static
from akd_monai.data import datalist, input_volumes, require_volumes
from akd_monai.errors import InputError

__all__ = ["calibration_and_held_out"]

# how a training config of the project names its split, and the argument of datalist
_SPLIT = {"sites": "sites", "folds": "folds", "fold": "fold", "split_seed": "seed"}
_LEAST = 2


def calibration_and_held_out(
    bundle_dir: str | Path, dataset_dir: str | Path, calibration_cases: int, held_out_cases: int
) -> tuple[list[Path], list[Path]]:
    """Return images of training cases, and of cases that are not.

    The split is that of the bundle's ``train`` config: held out are its validation and test cases. Without one the images
    of the folder are taken in the order of their names, the first ones for calibration.

    Args:
        bundle_dir: the bundle's folder.
        dataset_dir: the folder of its cases.
        calibration_cases: how many training cases, at most.
        held_out_cases: how many others, at most.

    Raises:
        InputError: if there are not two cases.
    """
    config = try_static(bundle_dir, "train")
    split = {argument: config.get(name) for name, argument in _SPLIT.items()} if config is not None else {}
    if split.get("folds") is None:
        return _by_name(dataset_dir, calibration_cases, held_out_cases)
    training = datalist(dataset_dir, "training", **split)
    others = [*datalist(dataset_dir, "validation", **split), *datalist(dataset_dir, "test", **split)]
    used = _images(training)
    held_out = [image for image in _images(others) if image not in used]
    if not held_out:
        raise _too_few(dataset_dir)
    return used[:calibration_cases], held_out[:held_out_cases]


def _images(cases: Sequence[Any]) -> list[Path]:
    return [Path(case["image"]) for case in cases]


def _by_name(dataset_dir: str | Path, calibration_cases: int, held_out_cases: int) -> tuple[list[Path], list[Path]]:
    found = input_volumes(dataset_dir)
    require_volumes(found, dataset_dir, flag="--dataset_dir")
    if len(found) < _LEAST:
        raise _too_few(dataset_dir)
    images = list(map(Path, found))
    count = min(calibration_cases, len(images) - 1)
    return images[:count], images[count : count + held_out_cases]


def _too_few(dataset_dir: str | Path) -> InputError:
    what = f"{str(dataset_dir)!r} has no case beside those of the training, on which masks could be compared"
    return InputError(what, remedy="give --dataset_dir a folder of at least two cases", code="no-cases")
