# SPDX-License-Identifier: Apache-2.0
"""What the checks of a volume cost an inference: ``python -m benchmarks.gate [repeats]``, one core, both ways in turn."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.inferers import SliceInferer
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    Resized,
    ScaleIntensityRangePercentilesd,
)

from akd_monai.data import CheckedReader, CheckVolumesd
from akd_monai.networks.nets import ENet

SHAPE = (320, 320, 24)


def preprocessing(checked: bool) -> Compose:
    """Return the preprocessing of the bundles, with or without the checks."""
    load = LoadImaged("image", reader=CheckedReader() if checked else None)
    steps = [load, EnsureChannelFirstd("image")]
    if checked:
        steps.append(CheckVolumesd("image"))
    scale = ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0.0, 1.0, clip=True)
    resize = Resized("image", (384, 384, -1), mode="trilinear")
    return Compose(
        [*steps, Orientationd("image", axcodes="RAS", labels=None), resize, scale, NormalizeIntensityd("image")]
    )


def timed(run: Callable[[], Any]) -> float:
    """Return the processor time of one call in seconds."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main(repeats: int) -> None:
    """Print the medians of loading and of a complete inference, without and with the checks."""
    torch.set_num_threads(1)
    network = ENet(2, 1, 2).eval()
    inferer = SliceInferer(roi_size=(384, 384), sw_batch_size=4, spatial_dim=2)
    seconds: dict[str, list[float]] = {"load": [], "load checked": [], "infer": [], "infer checked": []}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "t2.nii.gz"
        voxels = np.random.default_rng(0).normal(300, 80, SHAPE).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([0.6, 0.6, 3.0, 1.0])), path)
        for number in range(repeats + 1):
            for name, checked in (("", False), (" checked", True)):
                transform = preprocessing(checked)
                load = Compose(transform.transforms[: 3 if checked else 2])
                loading = timed(lambda load=load: load({"image": path}))
                inference = timed(
                    lambda transform=transform: inferer(transform({"image": path})["image"][None], network)
                )
                if number:  # the first one warms up
                    seconds[f"load{name}"].append(loading)
                    seconds[f"infer{name}"].append(inference)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name}: {value * 1e3:.1f} ms")
    added = medians["load checked"] - medians["load"]
    print(f"the checks add {added * 1e3:.1f} ms, {added / medians['infer']:.1%} of an inference")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
