# SPDX-License-Identifier: Apache-2.0
"""Verbs about bundles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from akd_monai._cli.door import Names, names, verb
from akd_monai.errors import BundleError, InputError

if TYPE_CHECKING:
    from akd_monai.bundle import ShippedBundle

__all__ = ["assemble", "bundles", "check", "distill", "evaluate", "label", "new_bundle", "profile", "recipes"]

_NO_WEIGHTS = (
    "No weights were written in this run: none of the student's handlers saved any. Weights that lie in its folder are "
    "older. Train for more epochs, or validate more often (val_interval)."
)


@verb("akd_monai.bundle:list_bundles")
def bundles(  # noqa: D417 - the public function documents the others
    output_dir: str | None = None, name: Names = (), **settings: Any
) -> str:
    """List the bundles of this package, or write them into a folder, ready to be trained; they have no weights.

    Example: python -m akd_monai bundles --output_dir bundles

    Args:
        output_dir: where their folders are made; a folder that holds the same bundle already is kept as it is, and one that
            holds something else is refused. Without it they are listed.
        settings: any id of the configs, such as spatial_size and epochs; it is set in every config that has it.
    """
    from akd_monai.bundle import list_bundles, write_bundles

    chosen = names(name)
    if output_dir is None:
        if settings:
            raise InputError("settings change bundles that are written, and none are", remedy="give --output_dir")
        return _listed(list_bundles(chosen))
    written = write_bundles(output_dir, name=chosen, **settings)
    if not written:
        return f"Nothing to write: {output_dir} holds these bundles already"
    return f"Written: {', '.join(map(str, written))}"


def _listed(found: Sequence[ShippedBundle]) -> str:
    width = max(len(bundle.name) for bundle in found)
    return "\n".join(
        f"{bundle.name:<{width}}  {bundle.role}  {bundle.parameters:>10,} parameters  {bundle.description}"
        for bundle in found
    )


@verb("akd_monai.bundle:distill_bundle")
def distill(  # noqa: D417 - the public function documents the others
    teacher: Any,
    student: str,
    dataset_dir: str | None = None,
    terms: Names = None,
    student_layer: str | None = None,
    teacher_layer: str | None = None,
    teacher_weights: Any = None,
    teacher_cache: str | None = None,
    overlay: str | None = None,
    recipe: str | None = None,
    tracking: str | None = None,
    trust_teacher: bool = False,
    run_id: str | None = None,
    activation: Any = None,
    teacher_head: Any = None,
    student_head: Any = None,
    classes: str | None = None,
    allow: Names = None,
    **override: Any,
) -> str:
    """Train a student bundle by distillation from a teacher bundle; the weights that are written are a plain student's.

    Example: python -m akd_monai distill --teacher bundles/prostate_mri_unetplusplus
    --student bundles/prostate_mri_enet --dataset_dir prepared --sites "['I2CVB']"

    Args:
        dataset_dir: the data, in the form that the student's train.json expects.
        student_layer: module path of the student's features; by default as the metadata names it.
        teacher_layer: module path of the teacher's features; by default as the metadata names it.
        teacher_cache: folder that keeps the teacher's outputs, for this run and all that share it.
        trust_teacher: evaluate expressions in the teacher's config and import what it names; only for bundles whose author
            you trust. The verb check shows what they would run.
    """
    from akd_monai.bundle import distill_bundle
    from akd_monai.handlers._evaluated_run import shown_runs

    ids = {
        "dataset_dir": dataset_dir,
        "student_layer": student_layer,
        "teacher_layer": teacher_layer,
        "teacher_cache": teacher_cache,
        "trust_teacher": trust_teacher or None,
    }
    override.update({name: value for name, value in ids.items() if value is not None})
    try:
        weights = distill_bundle(
            teacher,
            student,
            terms=None if terms is None else names(terms),
            overlay=overlay,
            recipe=recipe,
            teacher_weights=teacher_weights,
            tracking=tracking,
            run_id=run_id,
            activation=activation,
            teacher_head=teacher_head,
            student_head=student_head,
            classes=classes,
            allow=names(allow),
            **override,
        )
    except BundleError as error:
        # the text of an exit goes to stderr, with code 1
        raise SystemExit(f"akd_monai: {error}") from error
    if weights is None:
        return _NO_WEIGHTS
    runs = None if tracking is None else shown_runs(weights)
    return "\n".join([f"Student: {weights}", *([] if runs is None else [f"Runs: {runs}"])])


@verb("akd_monai.bundle:list_recipes")
def recipes() -> str:
    """List the recipes of distill: sets of terms and settings with a name, each with one sentence.

    Example: python -m akd_monai distill --recipe careful --teacher bundles/prostate_mri_unetplusplus
    --student bundles/prostate_mri_enet
    """
    from akd_monai.bundle import list_recipes

    found = list_recipes()
    width = max(map(len, found))
    return "\n".join(f"{name:<{width}}  {sentence}" for name, sentence in found.items())


@verb("akd_monai.bundle:evaluate_bundle")
def evaluate(  # noqa: D417 - the public function documents the others
    bundle: str,
    dataset_dir: str | None = None,
    sites: Names = None,
    part: Any = "test",
    publish: str | None = None,
    trained_by: str | None = None,
    track: bool = True,
    **override: Any,
) -> str:
    """Evaluate a bundle case by case in 3D on the images' own grid: Dice, HD95 and average surface distance in mm.

    Example: python -m akd_monai evaluate --bundle bundles/prostate_mri_enet --dataset_dir prepared --sites I2CVB

    Args:
        dataset_dir: the data, in the form that the bundle's train.json expects.
        sites: names of sites, separated by commas; all by default.
    """
    from akd_monai.bundle import evaluate_bundle

    if dataset_dir is not None:
        override["dataset_dir"] = dataset_dir
    if sites is not None:
        override["sites"] = names(sites)
    return str(evaluate_bundle(bundle, part=part, publish=publish, trained_by=trained_by, track=track, **override))


@verb("akd_monai.bundle:profile_bundles", old_words={"output": "output_file"})
def profile(  # noqa: D417 - the public function documents the others
    *bundles: str,
    size: Any = None,
    device: str | None = None,
    repeats: int | None = None,
    threads: int | None = None,
    json: bool = False,
    output_file: str | None = None,
    paper: bool = False,
    end_to_end: bool = False,
    volume: str | None = None,
    engines: Names = None,
    trust_bundle: bool = False,
) -> str:
    """Report parameters, GFLOPs, time and memory of each bundle's network, or the costs from a volume to its mask.

    Example: python -m akd_monai profile bundles/* --size 384 --threads 1

    Args:
        repeats: timed forward passes, 5 by default; with end_to_end volumes, 1 by default.
        json: print JSON with all facts instead of the table.
        end_to_end: seconds of reading, preparing, network and writing, and memory, in each engine.
        volume: for end_to_end: an image; by default a synthetic one of 320 x 320 x 24 voxels.
        engines: for end_to_end: of onnxruntime, openvino and torch; by default all that can run a bundle.
    """
    others = {"size": size, "device": device, "paper": paper} if end_to_end else {"volume": volume, "engines": engines}
    for flag, value in others.items():
        if value not in (None, False):
            what = "is not for --end_to_end" if end_to_end else "needs --end_to_end"
            raise InputError(f"--{flag} {what}", remedy="leave one of them out" if end_to_end else "add it")
    if end_to_end:
        from akd_monai.deploy import profile_segmentation

        return profile_segmentation(
            bundles,
            volume=volume,
            engines=names(engines) or None,
            threads=1 if threads is None else threads,
            repeats=1 if repeats is None else repeats,
            as_json=json,
            output_file=output_file,
            trust_bundle=trust_bundle,
        )
    from akd_monai.bundle import profile_bundles

    return profile_bundles(
        bundles,
        size=size,
        device=device,
        repeats=5 if repeats is None else repeats,
        threads=threads,
        as_json=json,
        output_file=output_file,
        paper=paper,
        trust_bundle=trust_bundle,
    )


@verb("akd_monai.bundle:check_bundle")
def check(*bundles: str) -> str:
    """Check that bundles are complete and consistent: targets, references, overlays, preprocessing, metadata, weights.

    Example: python -m akd_monai check bundles/prostate_mri_enet

    What their configs would run is printed first, then what is wrong: errors (would not run), warnings (probably wrong,
    or not as the Model Zoo wants it) and notes. The exit code is 2 where there are errors. Nothing is run or imported.

    Args:
        bundles: folders of bundles.
    """
    from akd_monai.bundle import find_code, find_problems
    from akd_monai.bundle._problems import by_severity

    if not bundles:
        raise InputError("check needs at least one bundle: python -m akd_monai check bundles/prostate_mri_enet")
    lines = []
    mistakes = []
    for bundle in bundles:
        for line in find_code(bundle):
            sys.stdout.write(f"{bundle}: would run: {line}\n")
        problems = by_severity(find_problems(bundle))
        for problem in problems:
            sys.stdout.write(f"{bundle}: {problem.severity}: {problem}\n")
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
            mistakes.append(f"bundle {str(bundle)!r} has {count}: {'; '.join(errors)}")
        else:
            lines.append(f"{bundle}: OK")
    if mistakes:
        raise InputError(". ".join(mistakes))
    return "\n".join(lines)


@verb("akd_monai.label:serve")
def label(
    studies: str,
    models: Names = (),
    bundles_dir: str = "bundles",
    app_dir: str = "label_app",
    host: str = "127.0.0.1",
    port: int = 8000,
    uncertainty: str | None = None,
) -> str:
    """Serve bundles with MONAI Label, for 3D Slicer and other viewers, until Ctrl-C.

    Example: python -m akd_monai label --studies images --models prostate_mri_enet

    The bundles are trusted: their configs are programs, and the server runs them.
    """
    from akd_monai.label import serve

    serve(
        studies,
        models=names(models),
        bundles_dir=bundles_dir,
        app_dir=app_dir,
        host=host,
        port=port,
        uncertainty=uncertainty,
    )
    return "The server has ended."


@verb("akd_monai.bundle:assemble_bundles")
def assemble(  # noqa: D417 - the public function documents the others
    *parts: str, bundles_dir: str = "bundles", check: bool = False
) -> str:
    """Write the project's bundles from their parts, or with --check compare them.

    Example: python -m akd_monai assemble --check

    Args:
        parts: parts to assemble, such as enet; all by default.
    """
    from akd_monai.bundle import assemble_bundles

    roots = assemble_bundles(names(parts), bundles_dir=bundles_dir, check=check)
    done = "Agree with their parts" if check else "Written"
    return f"{done}: {', '.join(map(str, roots))}"


@verb("akd_monai.bundle:new_bundle")
def new_bundle(
    name: str,
    network: str,
    bundles_dir: str = "bundles",
    high: str | None = None,
    low: str | None = None,
    in_channels: int = 1,
    out_channels: int | None = None,
    class_names: Names = None,
    spatial_size: Any = None,
    network_args: Any = None,
    role: Any = "student",
    task: str | None = None,
    authors: str | None = None,
    reference: str | None = None,
    like: str | None = None,
    trust_bundle: bool = False,
) -> str:
    """Write a complete bundle for a network of your own, or a light student of any bundle.

    Example: python -m akd_monai new_bundle --name my_net --network my_pkg.MyNet --high encoder

    Example: python -m akd_monai new_bundle --name light_spleen --network UNet --like models/spleen_ct_segmentation
    """
    from akd_monai.bundle import new_bundle as write

    root = write(
        name,
        network,
        bundles_dir=bundles_dir,
        high=high,
        low=low,
        in_channels=in_channels,
        out_channels=out_channels,
        class_names=None if class_names is None else names(class_names),
        spatial_size=spatial_size,
        network_args=network_args,
        role=role,
        task=task,
        authors=authors,
        reference=reference,
        like=like,
        trust_bundle=trust_bundle,
    )
    return f"Written: {root}"
