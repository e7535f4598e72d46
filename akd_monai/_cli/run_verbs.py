# SPDX-License-Identifier: Apache-2.0
"""Verbs about many runs, and about runs that are over."""

from __future__ import annotations

from typing import Any

from akd_monai._cli.door import Names, names, verb

__all__ = ["compress", "experiment", "send"]


@verb("akd_monai.experiments:run_experiment")
def experiment(  # noqa: D417 - the public function documents the others
    file: str,
    output_dir: str | None = None,
    dataset_dir: str | None = None,
    list: bool = False,  # noqa: A002 - the flag's name
    dry_run: bool = False,
    show: bool = False,
    only: Names = None,
    gpus: Names = None,
    jobs: int = 1,
    machine: str | None = None,
    tracking_uri: str | None = None,
) -> str:
    """Run the matrix of an experiment: teachers, students, methods and controls at every site.

    The experiments of the package are table2, table3, table4, help, readings and schedules, each also with -small for two
    CPU cores.

    Example: python -m akd_monai experiment table2-small --dataset_dir phantom --output_dir table2-small

    Args:
        list: print the commands, one a line, and run nothing.
        dry_run: print the cells, which are done, and what the others take by their measure; run nothing.
        show: print the experiment's file, for instance to start one of your own, and run nothing.
    """
    from akd_monai.experiments import experiment_cells, experiment_estimate, experiment_table, run_experiment
    from akd_monai.experiments._plan.shipped import experiment_file

    if show:
        return experiment_file(file)[0].read_text(encoding="utf-8").rstrip()
    patterns = names(only)
    if list:
        return "\n".join(experiment_cells(file, output_dir, dataset_dir=dataset_dir, only=patterns))
    if dry_run:
        table = experiment_table(file, output_dir, dataset_dir=dataset_dir, only=patterns)
        lines = [f"{'done' if done else 'to do':6}{name}" for name, done in table]
        estimate = experiment_estimate(
            file,
            output_dir,
            dataset_dir=dataset_dir,
            only=patterns,
            gpus=names(gpus),
            jobs=jobs,
            machine=machine,
        )
        return "\n".join([*lines, estimate])
    folder = run_experiment(
        file,
        output_dir,
        dataset_dir=dataset_dir,
        only=patterns,
        gpus=names(gpus),
        jobs=jobs,
        machine=machine,
        tracking_uri=tracking_uri,
    )
    return f"Written: {folder}"


@verb("akd_monai.experiments:compress_bundle")
def compress(
    teacher: str,
    dataset_dir: str,
    students: Names = None,
    recipe: str | None = None,
    widths: Any = 1.0,
    output_dir: str = "compressed",
    teacher_weights: str | None = None,
    sites: Names = None,
    folds: int | None = None,
    fold: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    gpus: Names = None,
    allow: Names = None,
    trust_bundle: bool = False,
    dry_run: bool = False,
    **settings: Any,
) -> str:
    """Make light students of a large bundle: trained, tested, exported and measured, with a report of what is lost.

    Example: python -m akd_monai compress bundles/prostate_mri_unetplusplus --dataset_dir prepared --jobs 2
    """
    from akd_monai.experiments import compress_bundle

    done = compress_bundle(
        teacher,
        dataset_dir,
        students=names(students),
        recipe=recipe,
        widths=widths,
        output_dir=output_dir,
        teacher_weights=teacher_weights,
        sites=names(sites),
        folds=folds,
        fold=fold,
        seed=seed,
        jobs=jobs,
        gpus=names(gpus),
        allow=names(allow),
        trust_bundle=trust_bundle,
        dry_run=dry_run,
        **settings,
    )
    return str(done)


@verb("akd_monai.handlers:send_spooled")
def send(output_dir: str, tracking_uri: str | None = None) -> str:
    """Send to MLflow what a training could not send, because the server or the database did not answer.

    Example: python -m akd_monai send --output_dir bundles/prostate_mri_enet/eval
    """
    from akd_monai.handlers import send_spooled

    count = send_spooled(output_dir, tracking_uri)
    if not count:
        return f"Nothing waits to be sent in {output_dir}"
    return f"Sent: {count} {'entry' if count == 1 else 'entries'} of {output_dir}"
