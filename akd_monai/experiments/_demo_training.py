# SPDX-License-Identifier: Apache-2.0
"""The trainings and evaluations of the demo, each a ``python -m monai.bundle run`` command."""

from __future__ import annotations

from akd_monai.bundle.recipe import recipe_path
from akd_monai.experiments._demo_bundles import ALONE, DISTILLED, SECOND, TEACHER, UNLABELLED
from akd_monai.experiments._demo_results import DemoRun
from akd_monai.experiments._steps import Steps

__all__ = ["evaluate", "train"]

_MONAI_RUN = ("-m", "monai.bundle", "run", "--config_file")
_TRAIN = "configs/train.json"
_DISTILL = "configs/distill.json"
_ADAPTED = "adapted"
_PRETRAINED = "pretrained"
_FINE_TUNING_RATE = 0.003


def train(run: DemoRun, steps: Steps) -> None:
    """Train the teacher, the student alone, and the distilled students."""
    overlay = _listed(_TRAIN, _DISTILL)
    weights = [f"--lambda_{name}={value}" for name, value in run.settings.lambdas().items()]
    teacher = [f"--teacher_bundle=../{TEACHER}"]
    target = [*_part(run), *_labelled(run)]
    steps.run(
        f"Teacher (UNet++) at {', '.join(run.sources)}", [*_config(run, _TRAIN), _sources(run)], run.bundles[TEACHER]
    )
    steps.run(f"Student (ENet) alone at {run.target}", [*_config(run, _TRAIN), *target], run.bundles[ALONE])
    steps.run(
        f"Student (ENet) distilled at {run.target}",
        [*_config(run, overlay), *teacher, *weights, *target],
        run.bundles[DISTILLED],
    )
    if SECOND not in run.bundles:
        return
    recipe = str(run.settings.recipe)
    # the command starts in another folder
    overlay = _listed(_TRAIN, _DISTILL, str(recipe_path(recipe).resolve()))
    more = _prepared(run, steps) if recipe == UNLABELLED else []
    steps.run(
        f"Student (ENet) distilled at {run.target} by the recipe {run.recipe_name}",
        [*_config(run, overlay), *teacher, *more, *target],
        run.bundles[SECOND],
    )


def _prepared(run: DemoRun, steps: Steps) -> list[str]:
    """Adapt the teacher to the site, pre-train the student at the others, and return the flags that name both."""
    short = [f"--epochs={max(1, run.settings.epochs // 3)}"]
    steps.run(
        f"Teacher (UNet++) adapted to {run.target}",
        [
            *_config(run, _TRAIN),
            *_part(run),
            *_labelled(run),
            *short,
            *_folder(_ADAPTED),
            "--initial_weights=models/model.pt",
            f"--learning_rate={_FINE_TUNING_RATE}",
        ],
        run.bundles[TEACHER],
    )
    steps.run(
        f"Student (ENet) pre-trained at {', '.join(run.sources)}",
        [*_config(run, _TRAIN), _sources(run), "--folds=$None", *short, *_folder(_PRETRAINED)],
        run.bundles[SECOND],
    )
    return [
        f"--teacher_weights=../{TEACHER}/{_ADAPTED}/model.pt",
        f"--initial_weights={_PRETRAINED}/model.pt",
        f"--learning_rate={_FINE_TUNING_RATE}",
    ]


def evaluate(run: DemoRun, steps: Steps) -> None:
    """Evaluate every network on the test cases of the target."""
    command = [*_MONAI_RUN, _listed(_TRAIN, "configs/evaluate.json"), *_part(run), f"--dataset_dir={run.data_dir}"]
    for name, bundle in run.bundles.items():
        steps.run(f"Evaluation of {name} at {run.target}", command, bundle)


def _listed(*files: str) -> str:
    """Return files as a list that the command line of MONAI reads.

    Example:
        >>> _listed("a.json", "b.json")
        "['a.json','b.json']"
    """
    return f"[{','.join(map(repr, files))}]"


def _config(run: DemoRun, configs: str) -> list[str]:
    tracking = ["--tracking", "configs/tracking.json", f"--tracking_uri={run.tracking_uri}"]
    return [*_MONAI_RUN, configs, *tracking, f"--dataset_dir={run.data_dir}"]


def _sources(run: DemoRun) -> str:
    return f"--sites={list(run.sources)}"


def _part(run: DemoRun) -> list[str]:
    return [f"--sites={[run.target]}", f"--folds={run.settings.folds}", f"--fold={run.settings.fold}"]


def _labelled(run: DemoRun) -> list[str]:
    return [] if run.labelled_cases is None else [f"--labelled_cases={run.labelled_cases}"]


def _folder(name: str) -> list[str]:
    return [f"--output_dir={name}", f"--ckpt_dir={name}"]
