# SPDX-License-Identifier: Apache-2.0
"""The bundles of the demo, with its sizes in their configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from akd_monai.bundle import change_bundle, write_bundle
from akd_monai.experiments.settings import DemoSettings

__all__ = ["ALONE", "DISTILLED", "SECOND", "TEACHER", "UNLABELLED", "write_bundles"]

TEACHER = "prostate_mri_unetplusplus"
ALONE = "prostate_mri_enet"
DISTILLED = "prostate_mri_enet_distilled"
SECOND = "prostate_mri_enet_recipe"
# by this recipe a student that has learned elsewhere follows a teacher that has learned here
UNLABELLED = "unlabelled"


def write_bundles(folder: Path, size: int, seed: int, settings: DemoSettings) -> dict[str, Path]:
    """Write the bundles below ``folder/bundles`` and return their folders by name; existing weights are kept."""
    students = _changes(size, seed, settings, settings.epochs)
    teacher = {
        **_changes(size, seed, settings, settings.teacher_epochs),
        "network_def#features": list(settings.features),
    }
    bundles = {}
    wanted = [(TEACHER, "unetplusplus", teacher), (ALONE, "enet", students), (DISTILLED, "enet", students)]
    if settings.recipe is not None:
        wanted.append((SECOND, "enet", students))
    for name, part, changes in wanted:
        bundles[name] = write_bundle(part, folder / "bundles" / name)
        change_bundle(bundles[name], {**changes, "configs#run_prefix": name})
    return bundles


def _changes(size: int, seed: int, settings: DemoSettings, epochs: int) -> dict[str, Any]:
    return {
        "spatial_size": [size, size],
        "seed": seed,
        "epochs": epochs,
        "samples_per_epoch": settings.samples_per_epoch,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "configs#experiment_name": "demo",
        "network_data_format#inputs#image#spatial_shape": [size, size],
        "network_data_format#outputs#pred#spatial_shape": [size, size],
    }
