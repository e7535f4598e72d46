# SPDX-License-Identifier: Apache-2.0
"""Verbs of the light tool: export a network, and segment without PyTorch."""

from __future__ import annotations

import logging
import sys
from typing import Any

from akd_monai._cli.door import names, verb

__all__ = ["export", "segment"]


@verb("akd_monai.deploy:export_bundle")
def export(
    bundle: str,
    weights: str | None = None,
    output_file: str | None = None,
    volumes: str | None = None,
    trust_bundle: bool = False,
) -> str:
    """Write a bundle's network with all that makes masks as one ONNX file, and prove that the masks are the same.

    Example: python -m akd_monai export bundles/prostate_mri_enet
    """
    from akd_monai.deploy import export_bundle

    done = export_bundle(bundle, weights=weights, output_file=output_file, volumes=volumes, trust_bundle=trust_bundle)
    return str(done)


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
) -> str:
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
    return "" if quiet else f"Masks: {len(done)} in {output_dir}"


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
