# SPDX-License-Identifier: Apache-2.0
"""Verbs about data, and the demo."""

from __future__ import annotations

from typing import Any

from akd_monai._cli.door import Names, names, verb
from akd_monai.errors import InputError

__all__ = ["compare", "demo", "phantom", "prepare", "report", "verify"]


@verb(
    "akd_monai.experiments:run_demo", settings="akd_monai.experiments:DemoSettings", old_words={"data": "dataset_dir"}
)
def demo(dataset_dir: str | None = None, output_dir: str = "demo_output", seed: int = 0, **settings: Any) -> str:
    """Train a teacher, a student alone and the same student distilled; evaluate all three and write a report.

    Example: python -m akd_monai demo --dataset_dir /path/to/six-site-folder --sources RUNMC --target I2CVB
    """
    from akd_monai.experiments import run_demo

    return run_demo(dataset_dir=dataset_dir, output_dir=output_dir, seed=seed, **settings)


@verb("akd_monai.prostate:make_phantom")
def phantom(
    output_dir: str,
    cases_per_site: int | None = 6,
    sites: Names = None,
    size: int = 128,
    slices: int | None = 10,
    seed: int = 0,
    workers: int = 1,
) -> str:
    """Write a SYNTHETIC set of six prostate MRI sites in the six-site layout.

    Example: python -m akd_monai phantom --output_dir phantom --cases_per_site 4 --size 128
    """
    from akd_monai.prostate import make_phantom

    path = make_phantom(
        output_dir,
        cases_per_site=cases_per_site,
        sites=None if sites is None else names(sites),
        size=size,
        slices=slices,
        seed=seed,
        workers=workers,
    )
    return f"Synthetic cases written to {path}"


@verb("akd_monai.prostate:prepare_dataset", old_words={"input": "input_dir", "output": "output_dir"})
def prepare(
    source: str,
    input_dir: str,
    output_dir: str,
    workers: int = 2,
    site: str | None = None,
    size: int | None = None,
    crop_mm: float | None = None,
    flip_labels: Names = (),
) -> str:
    """Convert raw prostate MRI to the six-site layout: one NIfTI image and one gland mask a case, with a manifest.

    Exit code 2 when a case could not be prepared; the others are prepared then.

    Example: python -m akd_monai prepare --source nci-isbi-2013 --input_dir raw --output_dir prepared
    """
    from akd_monai.prostate import prepare_dataset

    result = prepare_dataset(
        source,
        input_dir,
        output_dir,
        workers=workers,
        site=site,
        size=size,
        crop_mm=crop_mm,
        flip_labels=names(flip_labels),
    )
    if result.exit_code:
        raise InputError(str(result))
    return str(result)


@verb("akd_monai.prostate:verify_dataset", old_words={"output": "output_dir"})
def verify(
    dataset_dir: str,
    output_dir: str | None = None,
    fix: bool = False,
    splits: str | None = None,
    label_values: Any = None,
    workers: int = 2,
) -> str:
    """Check a prepared folder: files, geometry, labels, duplicates, personal data. Exit code 2 when there are errors.

    Example: python -m akd_monai verify --dataset_dir prepared --output_dir verify_report
    """
    from akd_monai.prostate import verify_dataset

    report = verify_dataset(
        dataset_dir, output_dir=output_dir, fix=fix, splits=splits, label_values=label_values, workers=workers
    )
    if report.exit_code:
        raise InputError(str(report))
    return str(report)


@verb("akd_monai.experiments:rebuild_report")
def report(results: str, output_dir: str | None = None) -> str:
    """Write the report page again from a results.json, or the pages of an experiment from its folder.

    Example: python -m akd_monai report --results demo_output/report/results.json
    """
    from akd_monai.experiments import rebuild_report

    return f"Report: {rebuild_report(results, output_dir)}"


@verb("akd_monai.experiments.students:compare_students")
def compare(
    alone: str, distilled: Names, dataset_dir: str, teacher: str | None = None, output_dir: str = "report"
) -> str:
    """Write the report on a student alone beside the same student distilled, from bundles that were evaluated.

    Example: python -m akd_monai compare --teacher bundles/teacher --alone bundles/alone --distilled bundles/distilled
    --dataset_dir prepared
    """
    from akd_monai.experiments.students import compare_students

    page = compare_students(alone, names(distilled), dataset_dir=dataset_dir, teacher=teacher, output_dir=output_dir)
    return f"Report: {page}"
