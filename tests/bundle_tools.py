# SPDX-License-Identifier: Apache-2.0
"""The project's bundles at a size that trains in a second, and MONAI's command line as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from akd_monai.bundle import change_bundle, write_bundle

SIZE = 32
FEATURES = [4, 4, 8, 8, 8]


def small_bundle(part: str, root: Path, **changes) -> Path:
    """Write a bundle for slices of 32 x 32 and two epochs of three batches."""
    write_bundle(part, root)
    shape = {f"network_data_format#{side}#spatial_shape": [SIZE, SIZE] for side in ("inputs#image", "outputs#pred")}
    small = {"spatial_size": [SIZE, SIZE], "epochs": 2, "batch_size": 4, "samples_per_epoch": 12, **shape}
    if part == "unetplusplus":
        small["network_def#features"] = FEATURES
    else:
        small["folds"] = 2
    if part == "deeplabv3plus":
        small["network_def#width"] = 0.125
    change_bundle(root, {**small, **changes})
    return root


def run_bundle(
    folder: Path, configs: str, *options: str, check: bool = True, python: str | Path = sys.executable
) -> subprocess.CompletedProcess:
    """Run ``python -m monai.bundle run`` in a bundle's folder, as a user does.

    ``python`` may be that of :class:`~warm_python.WarmPython`, which has imported everything.
    """
    command = [str(python), "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", configs, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done
