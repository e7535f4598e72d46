# SPDX-License-Identifier: Apache-2.0
"""Whether the cases at hand can be split as an experiment's file says, found before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from akd_monai.data import datalist, split_summary
from akd_monai.data.cases import Case, read_cases
from akd_monai.errors import InputError
from akd_monai.experiments._plan.layers import value_of
from akd_monai.experiments._plan.matrix import Matrix

__all__ = ["check_data"]


def check_data(matrix: Matrix) -> list[str]:
    """Refuse data of which a cell could make no training or no test; return what else has to be said of the splits.

    Raises:
        InputError: if there are no data, or a target has fewer cases than folds, naming site and numbers.
    """
    cases = read_cases(matrix.dataset_dir, list(matrix.sites))
    for target in matrix.targets:
        _check_sources(matrix, target, cases)
    if matrix.protocol == "loso":
        # every case of a target is a test case, and `read_cases` has found some
        return []
    cautions = []
    for target in matrix.targets:
        summary = _target_split(matrix, target, [case for case in cases if case["site"] == target])
        if summary:
            cautions.append(summary)
    return cautions


def _target_split(matrix: Matrix, target: str, cases: Sequence[Case]) -> str:
    """Return a caution about the split of a target, or an empty string."""
    where = f"experiment {matrix.name!r}"
    seed = matrix.settings.get("split_seed", 0)
    count = split_summary(cases, seed=seed, folds=matrix.folds)["sites"][target]["folds"]
    if count < matrix.folds:
        raise InputError(
            f"target {target} has {count} cases, which cannot be split into {matrix.folds} folds",
            where=where,
            remedy=f"set folds to {count} or fewer, or take {target} out of the targets",
        )
    spared = []
    for fold in matrix.run_folds:
        counts = split_summary(cases, seed=seed, fold=fold, folds=matrix.folds)["sites"][target]
        _check_labelled(matrix, target, fold, counts["training"])
        _check_unlabelled(matrix, target, fold)
        if not counts["validation"]:
            spared.append(f"{counts['training']} in fold {fold}")
    if not spared:
        return ""
    return (
        f"Target {target} has {len(cases)} cases and spares none for validation: its training cases ({', '.join(spared)}) "
        "serve as validation cases, so that the best epoch is not chosen independently."
    )


def _check_labelled(matrix: Matrix, target: str, fold: int, training: int) -> None:
    """Refuse more labelled cases than a target has for training."""
    most = max((count for count in matrix.labelled_cases if count is not None), default=0)
    if most > training:
        raise InputError(
            f"target {target} has {training} training cases in fold {fold}, and labelled_cases names {most}",
            where=f"experiment {matrix.name!r}",
            remedy=f"name {training} or fewer, or take {target} out of the targets",
        )


def _check_unlabelled(matrix: Matrix, target: str, fold: int) -> None:
    """Refuse a method that learns from images without labels where a target has none."""
    for method in matrix.methods:
        for labelled in matrix.labelled_cases:
            if not method.is_run(labelled) or not value_of(method, "unlabelled_batch_size"):
                continue
            split = {"seed": matrix.settings.get("split_seed", 0), "fold": fold, "folds": matrix.folds}
            if not datalist(matrix.dataset_dir, "unlabelled", sites=[target], labelled_cases=labelled, **split):
                number = "all" if labelled is None else f"{labelled} of its"
                raise InputError(
                    f"method {method.name!r} learns from images without labels, and target {target} has none in fold {fold} "
                    f"where {number} training cases have labels",
                    where=f"experiment {matrix.name!r}",
                    remedy="set labelled_cases to fewer, or put images into the folder 'unlabelled' of the data",
                )


def _check_sources(matrix: Matrix, target: str, cases: Sequence[Case]) -> None:
    """Refuse what a teacher with folds of its own cannot split, and a target that leaves no source."""
    sources = [case for case in cases if case["site"] in matrix.sources and case["site"] != target]
    if not sources:
        raise InputError(f"target {target} leaves no site to learn from", where=f"experiment {matrix.name!r}")
    _check_numbers_of_sites(matrix, target, sorted({case["site"] for case in sources}))
    for teacher in matrix.teachers:
        split_summary(sources, seed=matrix.settings.get("split_seed", 0), folds=teacher.settings.get("folds"))


def _check_numbers_of_sites(matrix: Matrix, target: str, sites: Sequence[str]) -> None:
    """Refuse a baseline that cannot learn from so few sites, and a vote that so few teachers cannot hold."""
    # imports the transforms of the baselines
    from akd_monai.generalisation._sites import least_sites
    from akd_monai.teachers.votes import check_vote

    where = f"experiment {matrix.name!r}"
    for method in matrix.methods:
        if method.generalise is not None and len(sites) < least_sites(method.generalise):
            raise InputError(
                f"method {method.name!r} learns from {least_sites(method.generalise)} sites or more, and target {target} "
                f"leaves {len(sites)} ({', '.join(sites)})",
                where=where,
                remedy="name more sites, or take the method away",
            )
        vote = value_of(method, "teacher_vote")
        if vote is not None:
            try:
                check_vote(vote, len(sites) if method.teacher == "several" else 1)
            except InputError as error:
                raise InputError(f"method {method.name!r} for target {target}: {error}", where=where) from error
