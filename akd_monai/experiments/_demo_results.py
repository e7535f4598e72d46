# SPDX-License-Identifier: Apache-2.0
"""Gather what the demo's commands wrote into the record that the report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.data.cases import read_cases
from akd_monai.experiments._bundle_results import add_profiles, images_of, system_of
from akd_monai.experiments._demo_bundles import ALONE, DISTILLED, SECOND, TEACHER, UNLABELLED
from akd_monai.experiments.results import Data, Results, Role
from akd_monai.experiments.settings import DemoSettings
from akd_monai.networks.profile.machine import machine_facts

__all__ = ["DemoRun", "collect_results"]

_LABELS: dict[str, tuple[str, Role]] = {
    TEACHER: ("Teacher (UNet++), other sites", "teacher"),
    ALONE: ("Student (ENet) alone", "baseline"),
    DISTILLED: ("Student (ENet) distilled", "distilled"),
    SECOND: ("Student (ENet) distilled, recipe {recipe}", "distilled"),
}
_PAPER_FEATURES = (64, 128, 256, 512, 1024)
_PAPER_SIZE = 384


@dataclass(frozen=True)
class DemoRun:
    """What one demo works on.

    Args:
        folder: the demo's folder, which holds ``mlruns.db``.
        data_dir: the cases, in the six-site layout.
        bundles: folders of the bundles by name.
        synthetic: whether the cases are those of a synthetic set.
        made: whether this demo made them.
        sources: the teacher's sites.
        target: the student's site.
        seed: key of every random number.
        size: side of the slices in pixels.
        settings: sizes and schedules.
        labelled_cases: training cases of the target that keep their labels; None for all.
    """

    folder: Path
    data_dir: Path
    bundles: Mapping[str, Path]
    synthetic: bool
    made: bool
    sources: Sequence[str]
    target: str
    seed: int
    size: int
    settings: DemoSettings
    labelled_cases: int | None

    @property
    def recipe_name(self) -> str:
        """Name of the recipe of the second student, also where a file of a recipe was given."""
        return Path(self.settings.recipe or "").stem

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps the runs."""
        return f"sqlite:///{self.folder / 'mlruns.db'}"

    @property
    def mlflow_command(self) -> str:
        """The command that shows the runs."""
        return f"mlflow ui --backend-store-uri {self.tracking_uri} --host 127.0.0.1"


def collect_results(run: DemoRun, commands: Sequence[str], warnings: Sequence[str]) -> Results:
    """Return the record of a finished demo.

    Args:
        run: the demo; each bundle has weights and the output of its training and evaluation.
        commands: the commands that were run.
        warnings: of the target's split.
    """
    cases = {case["case_id"]: case for case in read_cases(run.data_dir, [run.target])}
    systems = []
    for name, bundle in run.bundles.items():
        label, role = _LABELS[name]
        systems.append(system_of(bundle, label.format(recipe=run.recipe_name), role, cases))
    images = images_of(systems[0], cases)
    add_profiles(
        systems,
        list(run.bundles.values()),
        size=(run.size, run.size),
        image=next(iter(images.values()))["image"],
    )
    return {
        "title": f"Distillation at {run.target}",
        "data": _data(run.synthetic),
        "protocol": "cross_site",
        "target": run.target,
        "sources": list(run.sources),
        "seed": run.seed,
        "settings": _used(run),
        "reduced": _reduced(run.size, run.settings),
        "machine": dict(machine_facts()),
        "systems": systems,
        "images": images,
        "commands": list(commands),
        "warnings": [*warnings, *_unlike(run)],
        "mlflow": {"tracking_uri": run.tracking_uri, "experiment": "demo", "command": run.mlflow_command},
    }


def _data(synthetic: bool) -> Data:
    if synthetic:
        return {"kind": "synthetic", "description": "SYNTHETIC phantom."}
    return {"kind": "real", "description": "cases of the given folder."}


def _unlike(run: DemoRun) -> list[str]:
    """Say what the second student had beyond the others."""
    if run.settings.recipe != UNLABELLED:
        return []
    return [
        f"The student by the recipe {UNLABELLED} began with weights that were pre-trained at the source sites, followed a "
        "teacher that was adapted to the target site, and saw images without labels; the other students did not. Beside a "
        "student that was pre-trained alike without a teacher the gain may be none."
    ]


def _used(run: DemoRun) -> dict[str, Any]:
    """Return the settings with what was chosen where nothing was given."""
    used = {
        **run.settings.as_dict(),
        "labelled_cases": run.labelled_cases,
        "sources": list(run.sources),
        "target": run.target,
        "size": run.size,
    }
    if not run.made:
        del used["cases_per_site"]
        del used["slices"]
    return used


def _reduced(size: int, settings: DemoSettings) -> list[str]:
    found = []
    if size != _PAPER_SIZE:
        found.append(f"slices of {size} x {size} pixels (the paper's networks take {_PAPER_SIZE} x {_PAPER_SIZE})")
    if settings.features != _PAPER_FEATURES:
        ours = ", ".join(map(str, settings.features))
        theirs = ", ".join(map(str, _PAPER_FEATURES))
        found.append(f"a UNet++ of widths {ours} (the paper's has {theirs})")
    found.append(
        f"{settings.teacher_epochs} epochs of the teacher and {settings.epochs} of the students, "
        f"{settings.samples_per_epoch} slices an epoch in batches of {settings.batch_size} "
        "(the paper: 100 epochs, batches of 16)"
    )
    found.append(f"one fold of {settings.folds} and one seed (a study needs all folds and several seeds)")
    return found
