# SPDX-License-Identifier: Apache-2.0
"""Verbs of the light tool: export a network, and segment without PyTorch."""

from __future__ import annotations

import logging
import sys
from typing import Any

from akd_monai._cli.door import names, verb
from akd_monai.errors import InputError

__all__ = ["export", "segment"]


_LOWER = "int8, bf16 or fp16"


@verb("akd_monai.deploy:export_bundle")
def export(  # noqa: D417 - the public function documents the others
    bundle: str,
    weights: str | None = None,
    output_file: str | None = None,
    volumes: str | None = None,
    pt2: bool = False,
    int8: bool = False,
    bf16: bool = False,
    fp16: bool = False,
    dataset_dir: str | None = None,
    calibration_cases: int = 4,
    trust_bundle: bool = False,
) -> str:
    """Write a bundle's network with all that makes masks as one ONNX file, and prove that the masks are the same.

    Example: python -m akd_monai export bundles/prostate_mri_enet

    Args:
        int8: also write model-int8.onnx, if masks of held-out cases keep a Dice of 0.995 to those of model.onnx and time is
            saved; otherwise both figures are told, with exit code 1. bf16 and fp16 likewise, where an engine has them.
        bf16: see int8.
        fp16: see int8.
        dataset_dir: for int8, bf16 and fp16: the folder of the bundle's cases.
        calibration_cases: for int8: how many of its training cases are used, at most.
    """
    wanted: list[Any] = [name for name, is_wanted in (("int8", int8), ("bf16", bf16), ("fp16", fp16)) if is_wanted]
    if wanted and dataset_dir is None:
        raise InputError(
            f"--{wanted[0]} compares masks of held-out cases", remedy="give their folder with --dataset_dir"
        )
    if wanted and output_file is not None:
        raise InputError(
            f"--{wanted[0]} writes beside the bundle's models/model.onnx", remedy="leave --output_file out"
        )
    if dataset_dir is not None and not wanted:
        raise InputError(f"--dataset_dir is for {_LOWER}", remedy="add one of them, or leave it out")
    from akd_monai.deploy import export_bundle, export_reduced

    done = export_bundle(
        bundle, weights=weights, output_file=output_file, volumes=volumes, pt2=pt2, trust_bundle=trust_bundle
    )
    lines = [str(done)]
    for precision in wanted:
        sys.stdout.write(f"{lines.pop()}\n")
        reduced = export_reduced(
            bundle,
            precision,
            dataset_dir=str(dataset_dir),
            calibration_cases=calibration_cases,
        )
        lines.append(str(reduced))
    return lines[0]


@verb("akd_monai.deploy:segment", letters={"i": "input", "o": "output_dir"}, lists=("output_type",))
def segment(  # noqa: D417 - the public function documents the others
    input: str,  # noqa: A002 - the flag's name
    output_dir: str,
    model: str | None = None,
    bundles_dir: str = "bundles",
    engine: Any = "auto",
    threads: int | None = None,
    output_type: Any = "nifti",
    series: Any = None,
    segment_codes: str | None = None,
    statistics: bool = False,
    preview: bool = False,
    quiet: bool = False,
    trust_bundle: bool = False,
) -> str | None:
    """Write masks of volumes or DICOM series with an exported network, without PyTorch. Not for clinical use.

    Exit code 2 when an image could not be segmented; the others are done.

    Example: python -m akd_monai segment -i t2.nii.gz -o masks --model prostate_mri_enet

    Args:
        quiet: print warnings and errors alone.
    """
    _import_nibabel_alone()
    from akd_monai.deploy import segment as write_masks

    if quiet:
        logging.getLogger().setLevel(logging.WARNING)
    done = write_masks(
        input,
        output_dir,
        model=model,
        bundles_dir=bundles_dir,
        engine=engine,
        threads=threads,
        output_type=names(output_type),  # type: ignore[arg-type]
        series=series,
        segment_codes=segment_codes,
        statistics=statistics,
        preview=preview,
        trust_bundle=trust_bundle,
    )
    return None if quiet else f"Masks: {len(done)} in {output_dir}"


def _import_nibabel_alone() -> None:
    """Import nibabel without pydicom, which it imports where it is installed, for an extension that is not read here.

    That takes a quarter of the time in which a command of this verb starts. DICOM series import pydicom themselves.
    """
    if "pydicom" in sys.modules or "nibabel" in sys.modules:
        return
    # None makes an import fail as if the package were not installed
    sys.modules["pydicom"] = None  # type: ignore[assignment]
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]
