# SPDX-License-Identifier: Apache-2.0
"""The command of the measurement: what every exported network costs, teacher and students in one run."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from akd_monai.data.checked_volume import checked_volume
from akd_monai.deploy._model import open_model
from akd_monai.deploy._trial_volumes import write_trial_volumes
from akd_monai.experiments._compress.timing import time_models
from akd_monai.files import write_json
from akd_monai.networks.profile import machine_facts

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write engine, CPU seconds a volume and memory by network, the volume's shape and the machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_file", required=True)
    parser.add_argument("--model", action="append", required=True, help="NAME=FILE")
    parser.add_argument("--volume", help="an image; a small synthetic one by default")
    given = parser.parse_args(arguments)
    models = {name: Path(file) for name, _, file in (entry.partition("=") for entry in given.model)}
    recipe = open_model(next(iter(models.values()))).recipe
    with tempfile.TemporaryDirectory() as folder:
        volume = Path(given.volume) if given.volume else write_trial_volumes(Path(folder), recipe)[0]
        timed = time_models(models, volume)
        shape = list(checked_volume(volume, channels=recipe.channels).array.shape)
    content = {"engine": timed.engine, "cpu_seconds": timed.seconds, "peak_mb": timed.peak_mb, "shape": shape}
    write_json(given.output_file, {**content, "synthetic": given.volume is None, "machine": machine_facts()})


if __name__ == "__main__":
    main()
