# SPDX-License-Identifier: Apache-2.0
"""Masks of ``segment`` beside those of ``python -m monai.bundle run``, voxel for voxel, on volumes of varied geometry."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray
from torch import nn

from akd_monai.bundle import build_network, change_bundle, write_bundle
from akd_monai.data.checked_volume import checked_volume
from akd_monai.data.geometry import turned_to
from akd_monai.data.nifti import write_nifti
from akd_monai.deploy import export_bundle, segment
from akd_monai.deploy._engines import installed_engines
from akd_monai.deploy._interpolation import resized
from akd_monai.deploy._model import open_model
from akd_monai.deploy._pipeline import predict
from benchmarks.common import Goal, Result, Settings

PARTS = ("enet", "espnet", "erfnet", "deeplabv3plus", "unetplusplus")
AXES = ("RL", "AP", "SI")


def run(settings: Settings) -> Result:
    """Compare all bundles in all engines."""
    with tempfile.TemporaryDirectory(prefix="akd_benchmark_", ignore_cleanup_errors=True) as folder:
        return _run(settings, Path(folder))


def _run(settings: Settings, folder: Path) -> Result:
    side, count = (32, 2) if settings.quick else (96, 20)
    volumes = write_volumes(folder / "in", count, side)
    result = Result(
        "Masks of segment beside MONAI's own inference",
        f"{count} synthetic volumes of varied geometry (sizes, voxels, oblique, flipped and permuted axes, single slices),"
        f" all five bundles with drawn weights at {side} x {side}: voxels whose class differs from `python -m monai.bundle"
        " run`. The margin is by how much the better class was ahead in these, as a probability: where it is 0 by six"
        " digits, rounding decides between equal classes.",
        ["bundle", "engine", "voxels", "marked", "differ", "largest margin"],
    )
    differing = 0
    margins = [0.0]
    for part in PARTS[:2] if settings.quick else PARTS:
        root = drawn_bundle(folder / part, part, side)
        export_bundle(root)
        expected = masks_by_monai(root, volumes, folder / f"monai-{part}")
        for engine in installed_engines():
            found = compared(root, volumes, expected, folder / f"{engine}-{part}", engine)
            differing += len(found)
            margins += found
            voxels = sum(mask.size for mask in expected.values())
            marked = sum(int(mask.astype(bool).sum()) for mask in expected.values()) / voxels
            cells = [f"{voxels}", f"{marked:.0%}", f"{len(found)}", f"{max([0.0, *found]):.1e}"]
            result.rows.append([f"prostate_mri_{part}", engine, *cells])
    ties = "drawn weights leave voxels whose classes are equal but for rounding; see the margins"
    places = (
        "ENet: of two values that its max pooling finds equal but for rounding, engines keep the place of another one"
    )
    result.goals += [
        Goal("segment: voxels that differ from monai.bundle run", 0, differing, True, ties),
        Goal("segment: largest margin of a voxel that differs", 1e-5, max(margins), True, places),
    ]
    return result


def drawn_bundle(root: Path, part: str, side: int) -> Path:
    """Write a bundle with drawn weights that mark about half of the voxels."""
    write_bundle(part, root)
    shapes = {f"network_data_format#{end}#spatial_shape": [side, side] for end in ("inputs#image", "outputs#pred")}
    change_bundle(root, {"spatial_size": [side, side], **shapes})
    torch.manual_seed(0)
    network = build_network(root).eval()
    _balance(network, side)
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def _balance(network: nn.Module, side: int) -> None:
    """Shift the bias of the last layer, where it has one."""
    biases = [value for name, value in network.named_parameters() if name.endswith("bias") and value.shape == (2,)]
    with torch.no_grad():
        logits = network(torch.randn(2, 1, side, side))
        if biases:
            biases[-1][1] -= (logits[:, 1] - logits[:, 0]).median()


def write_volumes(folder: Path, count: int, side: int) -> Path:
    """Write volumes of soft blobs with noise, each on another grid."""
    rng = np.random.default_rng(0)
    codes = ["".join(letters) for order in itertools.permutations(AXES) for letters in itertools.product(*order)]
    for number in range(count):
        shape = (*rng.integers(side // 3, 4 * side // 3, 2).tolist(), int(rng.integers(1, 5)))
        spacing = [*rng.uniform(0.3, 1.2, 2), rng.uniform(1.5, 6)]
        affine = _rotation(rng.uniform(-0.4, 0.4, 3)) @ np.diag([*spacing, 1.0])
        affine[:3, 3] = rng.uniform(-80, 80, 3)
        coarse = rng.normal(100, 60, (1, *(min(5, n) for n in shape))).astype(np.float32)
        image = resized(coarse, shape)[0] + rng.normal(0, 8, shape).astype(np.float32)
        array, affine, _ = turned_to(image, affine, codes[int(rng.integers(len(codes)))])
        path = folder / f"case{number:02}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, array.astype(np.float32), affine)
    return folder


def _rotation(angles: NDArray[Any]) -> NDArray[Any]:
    turn = np.eye(4)
    for (i, j), angle in zip(((0, 1), (1, 2), (0, 2)), angles, strict=True):
        step = np.eye(4)
        step[[i, i, j, j], [i, j, i, j]] = (np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
        turn = turn @ step
    return turn


def masks_by_monai(root: Path, volumes: Path, output: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the masks of a bundle's inference config, by file name."""
    workflow = ConfigWorkflow(
        str(root / "configs" / "inference.json"),
        str(root / "configs" / "metadata.json"),
        None,
        workflow_type="infer",
        bundle_root=str(root),
        dataset_dir=str(volumes),
        output_dir=str(output),
    )
    workflow.initialize()
    workflow.run()
    return {path.name: np.asarray(nib.load(path).dataobj) for path in sorted(output.glob("*.nii.gz"))}


def compared(
    root: Path, volumes: Path, expected: dict[str, NDArray[np.uint8]], output: Path, engine: Any
) -> list[float]:
    """Return the margin of every voxel that differs."""
    margins: list[float] = []
    model = open_model(root, engine=engine, threads=1)
    done = segment(volumes, output, model=root, engine=engine, threads=1)
    if {each.mask.name for each in done if each.mask} != set(expected):
        raise RuntimeError(f"segment wrote other masks than MONAI: {sorted(expected)}")
    for each in done:
        differs = np.asarray(nib.load(each.mask).dataobj) != expected[each.mask.name]
        if differs.any():
            again = predict(checked_volume(each.image), model.recipe, model.network, with_margin=True)
            margins += np.asarray(again.margin)[differs].tolist()
    return margins
