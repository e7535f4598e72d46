# SPDX-License-Identifier: Apache-2.0
"""Export the network of a bundle with all that is needed to make masks, and prove that the masks are the same."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import akd_monai
from akd_monai.bundle import bundle_path, load_network, read_metadata, weights_path, weights_sha256
from akd_monai.data import input_volumes, require_volumes
from akd_monai.data._trained_size import RECORD, warn_of_other_size
from akd_monai.deploy._comparison import Comparison, compared, failed
from akd_monai.deploy._engines import Network, installed_engines
from akd_monai.deploy._from_bundle import recipe_of_bundle
from akd_monai.deploy._onnx_file import write_onnx
from akd_monai.deploy._onnx_metadata import onnx_metadata
from akd_monai.deploy._pt2_file import open_pt2, write_pt2
from akd_monai.deploy._recipe import PREFIX, Recipe, recipe_of_metadata
from akd_monai.deploy._spatial import Resize
from akd_monai.deploy._trial_volumes import write_trial_volumes
from akd_monai.errors import BundleError, InputError
from akd_monai.files import as_path, atomic_write, check_writable, write_json

__all__ = ["Export", "export_bundle"]

logger = logging.getLogger(__name__)

_REPORT = "-export.json"
_PT2 = ".pt2"
_DRAFT_PT2 = f"model{_PT2}"


@dataclass(frozen=True)
class Export:
    """An exported network.

    Args:
        file: the ONNX file.
        report: a JSON file beside it: what was compared, and the differences that were found.
        comparisons: the same, one for each engine.
    """

    file: Path
    report: Path
    comparisons: tuple[Comparison, ...]

    def __str__(self) -> str:
        lines = [f"Exported: {self.file} ({self.file.stat().st_size / 1e6:.1f} MB)"]
        return "\n".join([*lines, *map(str, self.comparisons), f"Report: {self.report}"])


def export_bundle(
    bundle: str | Path,
    *,
    weights: str | Path | None = None,
    output_file: str | Path | None = None,
    volumes: str | Path | None = None,
    pt2: bool = False,
    trust_bundle: bool = False,
) -> Export:
    """Write ``models/model.onnx``: the network of a bundle and, in its metadata, all that makes a mask of a volume.

    The metadata hold the preprocessing, the inferer, the postprocessing, the class names, the SHA-256 of the weights and
    the opset, so that :func:`~akd_monai.deploy.segment` needs this one file. Covered are configs of

    - ``Orientation``, ``Resize`` (trilinear), ``Spacing`` (bilinear), ``ScaleIntensity``, ``ScaleIntensityRange``,
      ``ScaleIntensityRangePercentiles`` and ``NormalizeIntensity``, after ``LoadImage`` and what checks or converts;
    - ``SliceInferer`` or ``SlidingWindowInferer``, for batches of any size;
    - ``Activations``, ``Invert`` and ``AsDiscrete``.

    The config is read as data and everything else is refused by name. Before the file appears it is opened by every
    engine that is installed. Logits are compared with PyTorch's, and masks of volumes with MONAI's own transforms and
    inferer around the network in PyTorch. A mask may differ only where the two best classes are within 0.001 of each
    other, where rounding decides, and at 0.05 % of the voxels, around places where rounding decided on a max pooling.

    Args:
        bundle: the bundle's folder.
        weights: a file of weights; ``models/model.pt`` of the bundle by default.
        output_file: the ONNX file; ``models/model.onnx`` of the bundle by default.
        volumes: images to compare masks on, a file or a folder; by default three small synthetic ones of varied geometry.
        pt2: also write ``model.pt2`` beside the ONNX file: the network as a program of ``torch.export``, for PyTorch
            without the network's code; it is compared in the same way.
        trust_bundle: evaluate expressions in the bundle's ``network_def`` and import what it names; only for bundles
            whose author you trust.

    Raises:
        InputError: if the folder is no bundle, has no weights, its config would run code, or it cannot be exported; then
            the message names the transform.
        BundleError: if masks differ; no file is written.

    Example:
        >>> export_bundle("no/such/bundle")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; give the folder ...
    """
    target = as_path(output_file, "output_file") if output_file else bundle_path(bundle, "models", "model.onnx")
    if target.suffix.lower() != ".onnx":
        raise InputError(f"output_file must end in .onnx, got {str(target)!r}.")
    if not installed_engines():
        remedy = 'pip install "akd_monai[onnx,segment]"'
        raise InputError("export needs an engine to prove its file", remedy=remedy, code="no-engine")
    if volumes is not None:
        require_volumes(input_volumes(volumes), volumes, flag="--volumes")
    recipe = recipe_of_bundle(bundle)
    check_writable(target.parent)
    network = _network(bundle, weights, trust_bundle)
    _compare_size(bundle, weights, recipe)
    facts = _facts(bundle, network, weights)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.onnx"
        metadata = {**recipe.as_metadata(), **_as_json(facts)}
        write_onnx(network, recipe.input_shape, draft, metadata)
        paths = _volumes(volumes, Path(folder), recipe)
        exported = recipe_of_metadata(onnx_metadata(draft), str(draft))
        program = _program(network, recipe, Path(folder)) if pt2 else None
        comparisons = tuple(compared(draft, exported, network, paths, is_synthetic=volumes is None, program=program))
        reasons = [reason for comparison in comparisons for reason in failed(comparison)]
        if reasons:
            raise BundleError(f"bundle {str(bundle)!r} was not exported: {'; '.join(reasons)}.")
        atomic_write(target, draft.read_bytes())
        if pt2:
            atomic_write(target.with_suffix(_PT2), (Path(folder) / _DRAFT_PT2).read_bytes())
    for path in _of_other_weights(target, facts["weights_sha256"]):
        logger.warning("%s is of other weights: export it as well, or delete it.", path)
    if not pt2 and target.with_suffix(_PT2).exists():
        logger.warning("%s is of an earlier export: write it as well (pt2), or delete it.", target.with_suffix(_PT2))
    report = target.with_name(f"{target.stem}{_REPORT}")
    opset = exported.facts["opset"]
    write_json(report, {**facts, "opset": opset, "comparisons": [entry.as_json() for entry in comparisons]})
    return Export(target, report, comparisons)


def _network(bundle_dir: str | Path, weights: str | Path | None, trust_bundle: bool) -> nn.Module:
    network = load_network(bundle_dir, weights=weights, trust_bundle=trust_bundle)
    if isinstance(network, torch.jit.ScriptModule):
        what = "its weights are TorchScript, which PyTorch's ONNX exporter does not take"
        raise InputError(what, where=str(bundle_dir), remedy="give models/model.pt", code="not-exportable")
    return network


def _compare_size(bundle_dir: str | Path, weights: str | Path | None, recipe: Recipe) -> None:
    for step in recipe.preprocessing:
        if isinstance(step, Resize):
            size = [side for side in step.spatial_size if side > 0]
            warn_of_other_size(Path(bundle_dir) / RECORD, Path(weights or weights_path(bundle_dir)), size)


def _program(network: nn.Module, recipe: Recipe, folder: Path) -> Network:
    path = folder / _DRAFT_PT2
    write_pt2(network, recipe.input_shape, path)
    return open_pt2(path)


def _facts(bundle_dir: str | Path, network: nn.Module, weights: str | Path | None) -> dict[str, Any]:
    metadata = read_metadata(bundle_dir)
    return {
        "bundle": Path(bundle_dir).resolve().name,
        "bundle_version": str(metadata.get("version", "")),
        "task": str(metadata.get("task", "")),
        "network": type(network).__name__,
        "weights_sha256": weights_sha256(bundle_dir, weights or weights_path(bundle_dir)),
        "made_by": {"akd_monai": akd_monai.__version__, "torch": torch.__version__.split("+")[0]},
    }


def _of_other_weights(target: Path, weights: str) -> Iterator[Path]:
    """Yield networks in a lower precision beside an ONNX file that do not say that they are of these weights."""
    for path in sorted(target.parent.glob(f"{target.stem}-*.onnx")):
        try:
            known = onnx_metadata(path).get(f"{PREFIX}weights_sha256")
        except InputError:
            known = None
        if known != json.dumps(weights):
            yield path


def _as_json(facts: dict[str, Any]) -> dict[str, str]:
    return {f"{PREFIX}{name}": json.dumps(value) for name, value in facts.items()}


def _volumes(given: str | Path | None, folder: Path, recipe: Recipe) -> list[Path]:
    if given is None:
        return write_trial_volumes(folder, recipe)
    found = input_volumes(given)
    require_volumes(found, given, flag="--volumes")
    return list(map(Path, found))
