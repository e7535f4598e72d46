# SPDX-License-Identifier: Apache-2.0
"""The command of the measurement: what every exported network costs, teacher and students in one run."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from akd_monai.deploy._model import open_model
from akd_monai.deploy._trial_volumes import write_trial_volumes
from akd_monai.experiments._compress.timing import cpu_seconds_of
from akd_monai.files import write_json
from akd_monai.networks.profile import machine_facts

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Write engine, CPU seconds a volume by network, the volumes' shapes and the machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_file", required=True)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--volume", action="append", default=[])
    given = parser.parse_args(arguments)
    models = {name: Path(file) for name, _, file in (entry.partition("=") for entry in given.model)}
    with tempfile.TemporaryDirectory() as folder:
        volumes = list(map(Path, given.volume)) or _trial_volumes(next(iter(models.values())), Path(folder))
        timed = cpu_seconds_of(models, volumes)
    content = {"engine": timed.engine, "cpu_seconds": timed.seconds, "shapes": timed.shapes}
    write_json(given.output_file, {**content, "synthetic": not given.volume, "machine": machine_facts()})


def _trial_volumes(model: Path, folder: Path) -> list[Path]:
    return write_trial_volumes(folder, open_model(model).recipe)


if __name__ == "__main__":
    main()
