# SPDX-License-Identifier: Apache-2.0
"""The main job end to end: teacher at some sites, student at another, alone and distilled, evaluated side by side."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from akd_monai.bundle.recipe import recipe_path
from akd_monai.data.cases import Case, read_cases
from akd_monai.data.manifest import is_synthetic
from akd_monai.data.splits import split_cases, split_summary
from akd_monai.errors import InputError
from akd_monai.experiments._comparison import compare
from akd_monai.experiments._demo_bundles import UNLABELLED, write_bundles
from akd_monai.experiments._demo_results import DemoRun, collect_results
from akd_monai.experiments._demo_training import evaluate, train
from akd_monai.experiments._explanation import explanations
from akd_monai.experiments._steps import StepError, Steps, say
from akd_monai.experiments._tables import findings
from akd_monai.experiments.report import write_report
from akd_monai.experiments.results import Results
from akd_monai.experiments.settings import DemoSettings
from akd_monai.files import FolderLock, as_path, write_json
from akd_monai.handlers._experiments import how_to_show
from akd_monai.prostate.phantom.make import make_phantom

__all__ = ["run_demo"]

# id of the demo's experiment in its own database, after MLflow's default one
_FIRST = "1"
_SYNTHETIC_SIZE = 128
_REAL_SIZE = 192


def run_demo(dataset_dir: str | None = None, output_dir: str = "demo_output", seed: int = 0, **settings: Any) -> str:
    """Train a teacher, a student alone and the same student distilled; evaluate all and write a report.

    Every training and evaluation is a ``python -m monai.bundle run`` command, which is shown, in a bundle folder below
    ``output_dir/bundles``.

    Args:
        dataset_dir: folder in the six-site layout; by default a synthetic set is made.
        output_dir: where everything is written; a second call with the same folder resumes where the first stopped.
        seed: key of every random number.
        settings: sources, target, epochs, teacher_epochs, size and further fields of DemoSettings.

    Returns:
        the lines that say where the report and the tracked runs are.

    Raises:
        InputError: for a mistake in data or settings, or when ``output_dir`` holds another run.
    """
    chosen = DemoSettings.from_flags(settings)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be an integer of at least 0, got {seed!r}.")
    folder = as_path(output_dir, "output_dir").resolve()
    given = None if dataset_dir is None else str(as_path(dataset_dir, "dataset_dir").resolve())
    with FolderLock(folder):
        steps = Steps(folder, {"dataset_dir": given, "seed": seed, **chosen.as_dict()})
        try:
            return _run(folder, given, seed, chosen, steps)
        except KeyboardInterrupt:
            place = os.path.relpath(folder)
            say(f"\nStopped. The same command resumes from here; the results so far are in {place}.")
            raise
        except StepError as failure:
            say(f"\nStopped by an error, {failure}\nThe same command tries again from here.")
            sys.exit(1)


def _run(folder: Path, given: str | None, seed: int, settings: DemoSettings, steps: Steps) -> str:
    size = settings.size or (_SYNTHETIC_SIZE if given is None else _REAL_SIZE)
    data_dir = _synthetic_data(folder, size, seed, settings) if given is None else Path(given)
    sources, target = _choose_sites(data_dir, settings)
    cases = read_cases(data_dir, [target])
    # an impossible split is refused before anything is trained
    split_cases(cases, "test", seed=seed, fold=settings.fold, folds=settings.folds)
    say(f"Teacher: {', '.join(sources)}. Student: {target}, fold {settings.fold + 1} of {settings.folds} held out.")
    settings, labelled = _with_labels(settings, cases, seed)
    run = DemoRun(
        folder=folder,
        data_dir=data_dir,
        bundles=write_bundles(folder, size, seed, settings),
        synthetic=is_synthetic(data_dir),
        made=given is None,
        sources=sources,
        target=target,
        seed=seed,
        size=size,
        settings=settings,
        labelled_cases=labelled,
    )
    train(run, steps)
    evaluate(run, steps)
    split = split_summary(cases, seed=seed, fold=settings.fold, folds=settings.folds)
    write_json(folder / "splits.json", split, indent=2)
    results = collect_results(run, steps.commands, split["warnings"])
    page = write_report(results, folder / "report")
    runs = how_to_show(run.tracking_uri, _FIRST)
    return "\n".join(["", *_finding(results), "", f"Report:  open {page}", f"Runs:    {runs}"])


def _with_labels(settings: DemoSettings, cases: Sequence[Case], seed: int) -> tuple[DemoSettings, int | None]:
    """Return how many of the target's training cases keep their labels, and the settings that are possible with it.

    A recipe for images without labels needs some: half of the training cases keep theirs, for every student alike. Where
    there is a single training case, the second student is left out.
    """
    if settings.recipe is not None:
        # refused before anything is trained
        recipe_path(settings.recipe)
    if settings.recipe != UNLABELLED:
        return settings, settings.labelled_cases
    training = len(split_cases(cases, "training", seed=seed, fold=settings.fold, folds=settings.folds))
    labelled = settings.labelled_cases or max(1, training // 2)
    if labelled >= training:
        say(
            f"No case is left without a label ({training} for training), so no second student by the recipe {UNLABELLED}."
        )
        return replace(settings, recipe=None), settings.labelled_cases
    say(f"Labels: {labelled} of {training} training cases keep theirs, for every student alike.")
    return settings, labelled


def _finding(results: Results) -> list[str]:
    """Return what the report finds, for a reader of the terminal."""
    comparisons = compare(results)
    lines = [f"{found['headline']}. {found['sentence']}" for found in findings(comparisons)]
    return lines + [f"- {sentence}" for sentence in explanations(results, comparisons)]


def _synthetic_data(folder: Path, size: int, seed: int, settings: DemoSettings) -> Path:
    say("Data: a SYNTHETIC set of six sites (a phantom; it stands in for real MRI and proves nothing about it)")
    return make_phantom(
        folder / "phantom",
        cases_per_site=settings.cases_per_site,
        size=size,
        slices=settings.slices,
        seed=seed,
        workers=2,
    )


def _choose_sites(data_dir: Path, settings: DemoSettings) -> tuple[tuple[str, ...], str]:
    """Return the teacher's sites and the student's site.

    Raises:
        InputError: when there is only one site, or the target is among the sources.
    """
    present = list(dict.fromkeys(case["site"] for case in read_cases(data_dir)))
    usual = "I2CVB" if "I2CVB" in present else present[-1]
    target = settings.target or usual
    sources = settings.sources or tuple(site for site in present if site != target)
    read_cases(data_dir, [*sources, target])
    if target in sources or not sources:
        raise InputError(
            f"the teacher's sites {list(sources)} and the student's site {target!r} must differ, and {str(data_dir)!r} "
            f"has {present}; add a site, or choose with --sources and --target."
        )
    return sources, target
