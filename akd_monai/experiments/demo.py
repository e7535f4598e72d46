# SPDX-License-Identifier: Apache-2.0
"""The main job end to end: teacher at some sites, student at another, alone and distilled, judged side by side."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from akd_monai import data as data_package
from akd_monai.bundle.assemble import read_part, write_bundle
from akd_monai.bundle.change import change_bundle
from akd_monai.data.cases import read_cases
from akd_monai.data.splits import split_cases, split_summary
from akd_monai.errors import InputError
from akd_monai.experiments.demo_results import collect_results
from akd_monai.experiments.report import write_report
from akd_monai.experiments.settings import DemoSettings
from akd_monai.experiments.steps import StepFailed, Steps, say
from akd_monai.files import FolderLock

TEACHER, ALONE, DISTILLED = "prostate_mri_unetplusplus", "prostate_mri_enet", "prostate_mri_enet_distilled"


def run_demo(data: str | None = None, output_dir: str = "demo_output", seed: int = 0, **flags: Any) -> str:
    """Run the demo and return the lines that say where its results are.

    Every training and evaluation is a ``python -m monai.bundle run`` command, which is shown, in a bundle folder below
    ``output_dir/bundles``. A second call with the same folder goes on where the first was stopped.

    Args:
        data: folder in the six-site layout; a synthetic set is made by default.
        output_dir: folder of everything that is written.
        seed: key of every random number.
        flags: fields of :class:`DemoSettings`.

    Raises:
        InputError: for a mistake in data or settings, or when ``output_dir`` holds another run.
    """
    settings = DemoSettings.from_flags(flags)
    folder = Path(output_dir).resolve()
    steps = Steps(folder, {"data": data and str(Path(data).resolve()), "seed": seed, **settings.as_dict()})
    with FolderLock(folder):
        try:
            return _run(folder, data, seed, settings, steps)
        except KeyboardInterrupt:
            say(f"\nStopped. The same command goes on from here; the results so far are in {os.path.relpath(folder)}.")
            raise
        except StepFailed as failure:
            say(f"\nStopped by an error, {failure}\nThe same command tries again from here.")
            sys.exit(1)


def _run(folder: Path, data: str | None, seed: int, settings: DemoSettings, steps: Steps) -> str:
    size = settings.size or (192 if data else 128)
    if data is None:
        say("Data: a SYNTHETIC set of six sites (a phantom; it stands in for real MRI and proves nothing about it)")
        data_dir = data_package.make_phantom(
            folder / "phantom",
            cases_per_site=settings.cases_per_site,
            size=size,
            slices=settings.slices,
            seed=seed,
            workers=2,
        )
    else:
        data_dir = Path(data).resolve()
    sources, target = choose_sites(data_dir, settings)
    cases = read_cases(data_dir, [target])
    split_cases(cases, "test", seed=seed, fold=settings.fold, folds=settings.folds)
    say(f"Teacher: {', '.join(sources)}. Student: {target}, fold {settings.fold + 1} of {settings.folds} held out.")

    bundles = _write_bundles(folder, size, seed, settings)
    common = [f"--dataset_dir={data_dir}", f"--tracking_uri=sqlite:///{folder / 'mlruns.db'}"]
    student = [f"--sites={[target]}", f"--folds={settings.folds}", f"--fold={settings.fold}"]
    run = ["-m", "monai.bundle", "run"]
    train = [*run, "--config_file", "configs/train.json", "--tracking", "configs/tracking.json"]
    distill = [
        *run,
        "--config_file",
        "['configs/train.json','configs/distill.json']",
        "--tracking",
        "configs/tracking.json",
    ]
    steps.run(
        f"Teacher (UNet++) at {', '.join(sources)}", [*train, f"--sites={list(sources)}", *common], bundles[TEACHER]
    )
    steps.run(f"Student (ENet) alone at {target}", [*train, *student, *common], bundles[ALONE])
    lambdas = [f"--lambda_{n}={getattr(settings, f'lambda_{n}')}" for n in ("logits", "gram", "affinity")]
    teacher = [f"--teacher_bundle=../{TEACHER}", *lambdas]
    steps.run(f"Student (ENet) distilled at {target}", [*distill, *teacher, *student, *common], bundles[DISTILLED])
    judge = [*run, "--config_file", "['configs/train.json','configs/evaluate.json']", *student, common[0]]
    for name, bundle in bundles.items():
        steps.run(f"Evaluation of {name} at {target}", judge, bundle)

    summary = split_summary(cases, seed=seed, fold=settings.fold, folds=settings.folds)
    (folder / "splits.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    results = collect_results(
        folder, data_dir, bundles, synthetic=data is None, sources=sources, target=target, seed=seed, size=size,
        settings=settings, steps=steps, split=summary,
    )  # fmt: skip
    page = write_report(results, folder / "report")
    return (
        f"\nReport:  open {page}\n"
        f"Runs:    mlflow ui --backend-store-uri sqlite:///{folder / 'mlruns.db'} --host 127.0.0.1"
    )


def choose_sites(data_dir: Path, settings: DemoSettings) -> tuple[tuple[str, ...], str]:
    """Return the teacher's sites and the student's site.

    Raises:
        InputError: when there is only one site, or the target is among the sources.
    """
    present = list(dict.fromkeys(case["site"] for case in read_cases(data_dir)))
    target = settings.target or ("I2CVB" if "I2CVB" in present else present[-1])
    sources = settings.sources or tuple(site for site in present if site != target)
    read_cases(data_dir, [*sources, target])
    if target in sources or not sources:
        raise InputError(
            f"the teacher's sites {list(sources)} and the student's site {target!r} must differ, and {str(data_dir)!r} "
            f"has {present}; add a site, or choose with --sources and --target."
        )
    return sources, target


def _write_bundles(folder: Path, size: int, seed: int, settings: DemoSettings) -> dict[str, Path]:
    """Write the three bundles with the demo's sizes in their configs; weights that are there stay."""
    bundles = {}
    for name, part, epochs in (
        (TEACHER, "unetplusplus", settings.teacher_epochs),
        (ALONE, "enet", settings.epochs),
        (DISTILLED, "enet", settings.epochs),
    ):
        bundles[name] = write_bundle(read_part(part), folder / "bundles" / name)
        changes: dict[str, Any] = {
            "spatial_size": [size, size],
            "seed": seed,
            "epochs": epochs,
            "samples_per_epoch": settings.samples_per_epoch,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "configs#experiment_name": "demo",
            "configs#run_prefix": name,
        }
        if part == "unetplusplus":
            changes["network_def#features"] = list(settings.features)
        shape = {f"network_data_format#{side}#spatial_shape": [size, size] for side in ("inputs#image", "outputs#pred")}
        change_bundle(bundles[name], {**changes, **shape})
    return bundles
