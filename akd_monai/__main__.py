# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m akd_monai <verb>``, or ``akd <verb>``.

Every verb is a thin door to a public function. Nothing heavy is imported before a verb runs, so ``--help`` is quick.
Exit codes: 0 done, 1 failed while working, 2 wrong input (data, config or bundle), 128 + n stopped by signal n.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import fire
from fire.core import FireExit

from akd_monai.errors import InputError

Names = str | list[str] | tuple[str, ...] | None


def demo(data: str | None = None, output_dir: str = "demo_output", seed: int = 0, **settings: Any) -> str:
    """Train a teacher, a student alone and the same student distilled; judge all three and write a report.

    Example: python -m akd_monai demo --data /path/to/six-site-folder --sources RUNMC --target I2CVB

    Args:
        data: folder in the six-site layout; by default a synthetic set is made.
        output_dir: where everything goes; a second call with the same folder goes on from where the first stopped.
        seed: key of every random number.
        settings: sources, target, epochs, teacher_epochs, size and further fields of DemoSettings.
    """
    from akd_monai.experiments.demo import run_demo

    return run_demo(data=data, output_dir=output_dir, seed=seed, **settings)


def phantom(
    output_dir: str,
    cases_per_site: int | None = 6,
    size: int = 128,
    slices: int | None = 10,
    seed: int = 0,
    workers: int = 2,
) -> str:
    """Write a SYNTHETIC set of six prostate MRI sites in the six-site layout.

    Example: python -m akd_monai phantom --output_dir phantom --cases_per_site 4 --size 128

    Args:
        output_dir: folder to write to.
        cases_per_site: cases of each site; None gives the real sites' numbers, 116 in all.
        size: side of the slices in pixels.
        slices: slices of each case; None gives each site's own number.
        seed: key of every random number.
        workers: processes; the files are the same for any number.
    """
    from akd_monai.prostate.phantom.make import make_phantom

    path = make_phantom(output_dir, cases_per_site=cases_per_site, size=size, slices=slices, seed=seed, workers=workers)
    return f"Synthetic cases written to {path}"


def prepare(
    source: str,
    input: str,
    output: str,
    workers: int = 2,
    site: str | None = None,
    size: int | None = None,
    crop_mm: float | None = None,
    flip_labels: Names = (),
) -> str:
    """Bring raw prostate MRI into the six-site form: one NIfTI image and one gland mask a case, with a manifest.

    Exit code 2 when a case could not be prepared; the others are done then.

    Example: python -m akd_monai prepare --source nci-isbi-2013 --input raw --output prepared

    Args:
        source: nci-isbi-2013, i2cvb, promise12, six-site, decathlon, prostate158 or folder.
        input: folder of the raw source.
        output: folder to write to; cases that are already there are left as they are.
        workers: cases prepared in parallel.
        site: site that the cases belong to, where the source does not say.
        size: side of the slices in pixels; by default slices stay as they are.
        crop_mm: side of a square around the middle to which slices are cut, in mm.
        flip_labels: cases or sites whose masks are turned over, as verify found them.
    """
    from akd_monai.prostate.prepare.run import prepare_dataset as prepare_source

    result = prepare_source(
        source, input, output, workers=workers, site=site, size=size, crop_mm=crop_mm, flip_labels=flip_labels or ()
    )
    if result.exit_code:
        raise InputError(str(result))
    return str(result)


def verify(
    dataset_dir: str, output: str | None = None, fix: bool = False, splits: str | None = None, workers: int = 2
) -> str:
    """Check a prepared folder: files, geometry, labels, duplicates, personal data. Exit code 2 when there are errors.

    Example: python -m akd_monai verify --dataset_dir prepared --output verify_report

    Args:
        dataset_dir: folder in the six-site layout.
        output: folder for the table and a picture of each flagged case.
        fix: mend what can be mended without loss.
        splits: splits file; no case or patient may be in two of its parts.
        workers: cases checked in parallel.
    """
    from akd_monai.prostate.verify.run import verify_dataset

    report = verify_dataset(dataset_dir, output_dir=output, fix=fix, splits=splits, workers=workers)
    if report.exit_code:
        raise InputError(str(report))
    return str(report)


def distill(
    teacher: str,
    student: str,
    dataset_dir: str | None = None,
    terms: Names = None,
    student_layer: str | None = None,
    teacher_layer: str | None = None,
    teacher_weights: str | None = None,
    teacher_cache: str | None = None,
    overlay: str | None = None,
    tracking: str | None = None,
    trust_teacher: bool = False,
    **override: Any,
) -> str:
    """Train a student bundle under the eyes of a teacher bundle; the student's models/model.pt is a plain student.

    Example: python -m akd_monai distill --teacher bundles/prostate_mri_unetplusplus
    --student bundles/prostate_mri_enet --dataset_dir prepared --sites "['I2CVB']"

    Args:
        teacher: folder of the teacher bundle, with weights.
        student: folder of the student bundle.
        dataset_dir: the data, as the student's train.json wants them.
        terms: which of logits, gram, affinity; all that the overlay has by default.
        student_layer: module path of the student's features; as named by its metadata by default.
        teacher_layer: module path of the teacher's features.
        teacher_weights: other weights than the teacher's models/model.pt.
        teacher_cache: folder that keeps what the teacher makes of each slice, for this run and all that share it.
        overlay: a distill.json of your own.
        tracking: mlflow, or a file with tracking settings.
        trust_teacher: evaluate expressions in the teacher's config.
        override: any id of the configs, for instance --epochs 50 or --train#trainer#max_epochs 50.
    """
    from akd_monai.bundle.run import distill as run

    given = {"dataset_dir": dataset_dir, "student_layer": student_layer, "teacher_layer": teacher_layer}
    if teacher_cache is not None:
        # a bundle is run from its own folder, a command from the user's
        given["teacher_cache"] = os.path.abspath(teacher_cache)
    override.update({name: value for name, value in given.items() if value is not None})
    if trust_teacher:
        override["trust_teacher"] = True
    return run(
        teacher, student, terms=terms, overlay=overlay, teacher_weights=teacher_weights, tracking=tracking, **override
    )


def evaluate(
    bundle: str,
    dataset_dir: str | None = None,
    sites: Names = None,
    part: str = "test",
    publish: str | None = None,
    trained_by: str | None = None,
    **override: Any,
) -> str:
    """Judge a bundle case by case in 3D on the images' own grid: Dice, HD95 and average surface distance in mm.

    Example: python -m akd_monai evaluate --bundle bundles/prostate_mri_enet --dataset_dir prepared --sites I2CVB

    Args:
        bundle: folder of the bundle, with weights.
        dataset_dir: the data, as the bundle's train.json wants them.
        sites: names of sites, all by default.
        part: test, validation or training.
        publish: what is judged on, in words; writes the figures into the bundle's README and metadata.
        trained_by: the command that trained the weights, shown beside published figures.
        override: any id of the configs.
    """
    from akd_monai.bundle.run import evaluate as run

    if dataset_dir is not None:
        override["dataset_dir"] = dataset_dir
    if sites is not None:
        override["sites"] = sites.split(",") if isinstance(sites, str) else list(sites)
    return run(bundle, part=part, publish=publish, trained_by=trained_by, **override)


def report(results: str, output_dir: str | None = None) -> str:
    """Write the report page again from a results.json.

    Example: python -m akd_monai report --results demo_output/report/results.json
    """
    from akd_monai.experiments.report import rebuild_report

    return f"Report: {rebuild_report(results, output_dir)}"


def profile(
    *bundles: str,
    size: Any = None,
    device: str | None = None,
    repeats: int = 5,
    threads: int | None = None,
    json: bool = False,
    output: str | None = None,
    paper: bool = False,
) -> str:
    """Say what bundles' networks cost: parameters, GFLOPs, time, memory, size on disk.

    Example: python -m akd_monai profile bundles/* --size 384 --threads 1

    Args:
        bundles: folders; each network is measured in a fresh process.
        size: side of the input, or a list of sides; the metadata's by default.
        device: cpu or cuda; the CPU by default, and the GPU too if there is one.
        repeats: timed passes.
        threads: CPU threads.
        json: print JSON instead of the table.
        output: also write the table, or JSON to a file that ends in .json.
        paper: add the figures that the paper's Table 1 printed.
    """
    from akd_monai.bundle.profile import profile_bundles
    from akd_monai.networks.profile.machine import machine_facts

    return profile_bundles(
        bundles, size=size, device=device, repeats=repeats, threads=threads, as_json=json, output=output, paper=paper,
        machine=machine_facts(),
    )  # fmt: skip


def check(*bundles: str) -> str:
    """See that bundles are whole: targets, references, overlays, preprocessing, metadata, hash of the weights.

    Example: python -m akd_monai check bundles/prostate_mri_enet
    """
    from akd_monai.bundle.check import check_bundle

    if not bundles:
        raise InputError("check needs at least one bundle: python -m akd_monai check bundles/prostate_mri_enet")
    return "\n".join(check_bundle(bundle) for bundle in bundles)


def label(
    studies: str,
    models: Names = None,
    bundles_dir: str = "bundles",
    app_dir: str = "label_app",
    host: str = "127.0.0.1",
    port: int = 8000,
    uncertainty: str | None = None,
) -> str:
    """Serve bundles with MONAI Label, for 3D Slicer and other viewers, until Ctrl-C.

    Example: python -m akd_monai label --studies images --models prostate_mri_enet

    Args:
        studies: folder of the images; labels go to labels/ in it.
        models: names of bundles; all of bundles_dir that have weights by default.
        bundles_dir: folder of the bundles, which are not changed: the server works on copies.
        app_dir: folder of the server, with the copies and what is trained.
        host: address to listen on; there is no password.
        port: port to listen on.
        uncertainty: the bundle that scores images without label by its uncertainty.
    """
    from akd_monai.label import serve

    return serve(
        studies, models=models or (), bundles_dir=bundles_dir, app_dir=app_dir, host=host, port=port,
        uncertainty=uncertainty,
    )  # fmt: skip


def assemble(*names: str, bundles_dir: str = "bundles", check: bool = False) -> str:
    """Write the project's bundles from their parts, or with --check see that they agree.

    Example: python -m akd_monai assemble --check
    """
    from akd_monai.bundle.assemble import assemble as run

    return run(names, bundles_dir=bundles_dir, check=check)


def new_bundle(
    name: str,
    network: str,
    bundles_dir: str = "bundles",
    high: str | None = None,
    low: str | None = None,
    in_channels: int = 1,
    out_channels: int | None = None,
    class_names: Names = None,
    spatial_size: Any = 384,
    network_args: Any = None,
    role: str = "student",
    task: str | None = None,
    authors: str | None = None,
    reference: str | None = None,
) -> str:
    """Write a whole bundle for a network of your own.

    Example: python -m akd_monai new_bundle --name my_net --network my_pkg.MyNet --high encoder

    Args:
        name: of the bundle and its folder.
        network: where the class can be imported from.
        bundles_dir: folder of the bundles.
        high: layer to distil, best at 1/8 of the input's size; by default as the class's attribute layers says.
        low: early layer, best at 1/2.
        in_channels: channels of the image.
        out_channels: classes, background included; 2 by default.
        class_names: names of the classes without the background.
        spatial_size: side, or both sides, to which slices are resized.
        network_args: further arguments of the network, for instance "{'width': 16}".
        role: student or teacher.
        task: what it segments, one sentence.
        authors: of the bundle.
        reference: the network's publication.
    """
    from akd_monai.bundle.new_bundle import new_bundle as run

    return run(
        name, network, bundles_dir=bundles_dir, high=high, low=low, in_channels=in_channels, out_channels=out_channels,
        class_names=class_names, spatial_size=spatial_size, network_args=network_args, role=role, task=task,
        authors=authors, reference=reference,
    )  # fmt: skip


VERBS = {
    verb.__name__: verb
    for verb in (demo, phantom, prepare, verify, distill, evaluate, report, profile, check, label, assemble, new_bundle)
}


def user_error(error: BaseException | None) -> InputError | None:
    """Return the user's mistake behind ``error``, which MONAI's config parser may have wrapped several times."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def main(command: list[str] | None = None) -> None:
    """Run one verb; a user's mistake ends with one line and code 2, without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault("PAGER", "cat")
    try:
        fire.Fire(VERBS, command=command, name="akd_monai")
    except FireExit:
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        mistake = user_error(error)
        if mistake is None:
            raise
        sys.stderr.write(f"akd_monai: {mistake}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
