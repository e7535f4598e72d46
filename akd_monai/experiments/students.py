# SPDX-License-Identifier: Apache-2.0
"""A report on bundles that were trained and evaluated one by one: a student alone beside the same student distilled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle.metadata import weights_sha256
from akd_monai.data.cases import read_cases
from akd_monai.data.manifest import is_synthetic
from akd_monai.errors import InputError
from akd_monai.experiments._bundle_results import add_profiles, images_of, system_of
from akd_monai.experiments.report import write_report
from akd_monai.experiments.results import Data, Results, Role
from akd_monai.files import as_path, read_json
from akd_monai.networks.profile.machine import machine_facts

__all__ = ["compare_students"]

# what a student alone and a distilled one must share, so that distillation is all that differs
_SHARED = (
    "network",
    "seed",
    "split_seed",
    "fold",
    "folds",
    "case_ids",
    "validation_case_ids",
    "initial_weights_sha256",
    "epochs",
    "iterations",
    "batch_size",
    "learning_rate",
    "schedule",
    "spatial_size",
)
# what the records of a student must say
_FACTS = {"training.json": ("seed",), "evaluation.json": ("case_ids", "sites", "spatial_size")}
_FACTS_OF_TEACHER = {"training.json": (), "evaluation.json": ("case_ids",)}
_SETTINGS = ("epochs", "batch_size", "learning_rate", "schedule", "spatial_size", "fold", "folds", "lambdas")


@dataclass(frozen=True)
class _Trained:
    """A bundle with the records of its training and its evaluation."""

    folder: Path
    role: Role
    training: Mapping[str, Any]
    evaluation: Mapping[str, Any]

    @property
    def learnt(self) -> set[str]:
        """Cases that it was trained or chosen on."""
        return {*self.training.get("case_ids", ()), *self.training.get("validation_case_ids", ())}


def compare_students(
    alone: str | os.PathLike[str],
    distilled: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    dataset_dir: str | os.PathLike[str],
    teacher: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] = "report",
) -> Path:
    """Write a report on a student alone and the same student distilled, from bundles that are trained and evaluated.

    The report is that of the demo: paired differences with their intervals, scores, cost, curves, outlines of every case.

    Args:
        alone: folder of the bundle that was trained without a teacher.
        distilled: folder of the distilled bundle, or several of them, on a command line separated by commas.
        dataset_dir: the data that they were evaluated on.
        teacher: folder of the teacher's bundle, evaluated on the same cases; without it, it has no row.
        output_dir: folder of the report.

    Returns:
        The page.

    Raises:
        InputError: if a bundle was not trained or evaluated, has other weights since, was evaluated on other cases or on
            cases that it has learned from, or if a student is in the wrong place.

    Example:
        >>> compare_students("bundles/prostate_mri_enet", "bundles/prostate_mri_enet", dataset_dir="prepared")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle 'prostate_mri_enet' is given twice; each needs a folder name of its own.
    """
    given: list[tuple[str, Role, Any]] = [("alone", "baseline", alone)]
    given += [("distilled", "distilled", one) for one in _listed(distilled)]
    if teacher is not None:
        given.insert(0, ("teacher", "teacher", teacher))
    folders = [as_path(folder, name) for name, _, folder in given]
    _check_names(folders)
    data = as_path(dataset_dir, "dataset_dir")
    bundles = [_trained(folder, role, data) for folder, (_, role, _) in zip(folders, given, strict=True)]
    _check_cases(bundles)
    warnings = _check_students(bundles)
    return write_report(_results(bundles, data, warnings), output_dir)


def _listed(folders: Any) -> list[Any]:
    return [folders] if isinstance(folders, (str, os.PathLike)) else list(folders)


def _check_names(folders: Sequence[Path]) -> None:
    names = [folder.resolve().name for folder in folders]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"bundle {name!r} is given twice; each needs a folder name of its own.")


def _trained(folder: Path, role: Role, data: Path) -> _Trained:
    """Read the records of a bundle; they must be about the weights that it has."""
    where = f"bundle {str(folder)!r}"
    command = f"python -m akd_monai evaluate --bundle {folder} --dataset_dir {data}"
    for name, remedy in (("training.json", "train it first"), ("evaluation.json", f"evaluate it first: {command}")):
        if not (folder / "eval" / name).is_file():
            raise InputError(f"has no eval/{name}", where=where, remedy=remedy, code="missing")
    facts = _FACTS_OF_TEACHER if role == "teacher" else _FACTS
    training, evaluation = (_record(folder / "eval" / name, wanted) for name, wanted in facts.items())
    weights = weights_sha256(folder)
    if training.get("weights_sha256") not in (None, weights):
        what = "has other weights than its training has kept, of which eval/training.json tells"
        raise InputError(what, where=where, remedy="put those back, or train it again", code="stale")
    if evaluation.get("weights_sha256") != weights:
        what = "has other weights than when it was evaluated"
        raise InputError(what, where=where, remedy=f"evaluate it again: {command}", code="stale")
    return _Trained(folder.resolve(), role, training, evaluation)


def _record(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path)
    missing = [fact for fact in wanted if fact not in content]
    if missing:
        remedy = "give its RunRecord this fact, as the bundles of this package do"
        raise InputError(f"does not say {missing[0]!r}", where=str(path), remedy=remedy)
    return content


def _check_cases(bundles: Sequence[_Trained]) -> None:
    """Raise an error unless all were evaluated on the same cases, from which none has learned."""
    first = bundles[0]
    tested = list(first.evaluation["case_ids"])
    for bundle in bundles:
        where = f"bundle {bundle.folder.name!r}"
        if sorted(bundle.evaluation["case_ids"]) != sorted(tested):
            raise InputError(
                f"was evaluated on other cases than bundle {first.folder.name!r}: "
                f"{len(bundle.evaluation['case_ids'])} and {len(tested)}",
                where=where,
                remedy="evaluate all with the same sites, split_seed, fold and folds (--folds 4 for a teacher, too)",
            )
        seen = sorted(bundle.learnt & set(tested))
        if seen:
            raise InputError(
                f"has learned from {len(seen)} of the {len(tested)} cases that it was evaluated on, {seen[0]} first",
                where=where,
                remedy="evaluate on cases that no training has seen: part test, with the folds of the training",
            )


def _check_students(bundles: Sequence[_Trained]) -> list[str]:
    """Return, a sentence each, in what a distilled student was trained otherwise than the one alone."""
    alone = next(bundle for bundle in bundles if bundle.role == "baseline")
    if alone.training.get("teacher_sha256") is not None:
        raise InputError(f"bundle {alone.folder.name!r} was distilled; give as alone a student that had no teacher.")
    warnings = []
    for bundle in bundles:
        if bundle.role != "distilled":
            continue
        if bundle.training.get("teacher_sha256") is None:
            raise InputError(f"bundle {bundle.folder.name!r} had no teacher; give as distilled a student that had one.")
        other = [name for name in _SHARED if bundle.training.get(name) != alone.training.get(name)]
        if other:
            warnings.append(
                f"{bundle.folder.name} and {alone.folder.name} differ in more than the distillation: {', '.join(other)}."
            )
        warnings += _other_teacher(bundle, bundles[0])
    return warnings


def _other_teacher(student: _Trained, teacher: _Trained) -> list[str]:
    if teacher.role != "teacher" or student.training["teacher_sha256"] == teacher.evaluation["weights_sha256"]:
        return []
    return [f"The teacher of {student.folder.name} was not {teacher.folder.name} with the weights that it has now."]


def _results(bundles: Sequence[_Trained], data: Path, warnings: Sequence[str]) -> Results:
    last = bundles[-1]
    sites = list(last.evaluation["sites"])
    cases = {case["case_id"]: case for case in read_cases(data, sites)}
    missing = [name for name in last.evaluation["case_ids"] if name not in cases]
    if missing:
        what = f"has no case {missing[0]}, on which the bundles were evaluated"
        raise InputError(what, where=f"dataset_dir {str(data)!r}", remedy="give the data of that evaluation")
    systems = [system_of(bundle.folder, _label(bundle, bundles), bundle.role, cases) for bundle in bundles]
    images = images_of(systems[0], cases)
    sources = list(bundles[0].training.get("sites", ())) if bundles[0].role == "teacher" else []
    add_profiles(
        systems,
        [bundle.folder for bundle in bundles],
        size=last.evaluation["spatial_size"],
        image=next(iter(images.values()))["image"],
    )
    return {
        "title": f"Distillation at {', '.join(sites)}",
        "data": _data(data),
        "protocol": "cross_site" if not set(sources) & set(sites) else "the teacher has cases of the target site",
        "target": ", ".join(sites),
        "sources": sources,
        "seed": int(last.training["seed"]),
        "settings": {name: last.training.get(name) for name in _SETTINGS},
        "machine": dict(machine_facts()),
        "systems": systems,
        "images": images,
        "warnings": list(warnings),
    }


def _data(folder: Path) -> Data:
    if is_synthetic(folder):
        return {"kind": "synthetic", "description": "SYNTHETIC phantom."}
    return {"kind": "real", "description": "cases of the given folder."}


def _label(bundle: _Trained, bundles: Sequence[_Trained]) -> str:
    network = bundle.training.get("network", bundle.folder.name)
    if bundle.role == "teacher":
        return f"Teacher ({network})"
    if bundle.role == "baseline":
        return f"Student ({network}) alone"
    alike = [other for other in bundles if other.role == "distilled"]
    return f"Student ({network}) distilled" + (f", {bundle.folder.name}" if len(alike) > 1 else "")
