# SPDX-License-Identifier: Apache-2.0
"""Overlap and surface distances of one predicted volume against its reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance
from monai.utils import convert_to_tensor

from akd_monai.errors import InputError

__all__ = ["METRICS", "check_volumes", "foreground_masks", "mask_metrics"]

METRICS = ("dice", "hd95_mm", "asd_mm", "reference_ml", "predicted_ml")

_MM3_PER_ML = 1000
_MOST_VALUES = 6


def mask_metrics(predicted: torch.Tensor, reference: torch.Tensor, spacing: Sequence[float]) -> dict[str, float]:
    r"""Compare two binary masks of one structure in 3D.

    * ``dice``: :math:`2|P \cap R| / (|P| + |R|)`, 0 to 1.
    * ``hd95_mm``: the larger of the two directed 95th percentiles of surface distance, in mm.
    * ``asd_mm``: the mean over the surface voxels of both masks of the distance to the other surface, in mm.
    * ``reference_ml``, ``predicted_ml``: volumes in millilitres.

    What is not defined is NaN, so that it can be counted and is never averaged: the Dice of two empty masks, and both
    distances if either mask is empty. A mask predicted where there is none, or none where there is one, has Dice 0.

    Args:
        predicted: ``[H, W, D]``, true inside the structure.
        reference: of the same shape.
        spacing: size of a voxel along H, W and D in mm.

    Raises:
        InputError: if a mask is not 3D, the shapes differ, or a spacing is not above 0.

    Example:
        >>> reference = torch.zeros(8, 8, 4, dtype=torch.bool)
        >>> reference[2:6, 2:6, 1:3] = True
        >>> scores = mask_metrics(reference.roll(1, dims=0), reference, spacing=(0.5, 0.5, 3.0))
        >>> scores["dice"], scores["hd95_mm"], scores["reference_ml"]
        (0.75, 0.5, 0.024)
    """
    check_volumes(predicted, reference)
    _check_spacing(spacing)
    mm = [float(s) for s in spacing]
    inside_predicted = int(predicted.sum())
    inside_reference = int(reference.sum())
    voxel_ml = math.prod(mm) / _MM3_PER_ML
    scores = dict.fromkeys(METRICS, math.nan)
    scores["reference_ml"] = inside_reference * voxel_ml
    scores["predicted_ml"] = inside_predicted * voxel_ml
    if not inside_predicted and not inside_reference:
        return scores
    p = _for_monai(predicted)
    r = _for_monai(reference)
    scores["dice"] = float(compute_dice(p, r, ignore_empty=False))
    if inside_predicted and inside_reference:
        # MONAI crops to the box of both masks before it searches for surfaces.
        hd95 = compute_hausdorff_distance(p, r, include_background=True, percentile=95, spacing=mm)
        asd = compute_average_surface_distance(p, r, include_background=True, symmetric=True, spacing=mm)
        scores["hd95_mm"] = float(hd95)
        scores["asd_mm"] = float(asd)
    return scores


def foreground_masks(volume: torch.Tensor, num_foreground: int) -> torch.Tensor:
    """Split a segmentation into one mask a class, without the background: ``[num_foreground, H, W, D]``, bool.

    Args:
        volume: integers ``[1, H, W, D]`` with 0 for background, or zeros and ones ``[1 + num_foreground, H, W, D]``
            with the background first.
        num_foreground: number of classes without the background.

    Raises:
        InputError: if the values or the number of channels are of neither kind.

    Example:
        >>> foreground_masks(torch.tensor([0, 2, 1]).reshape(1, 3, 1, 1), 2).flatten(1).int().tolist()
        [[0, 0, 1], [0, 1, 0]]
    """
    volume = convert_to_tensor(volume, dtype=torch.float32, track_meta=False)
    if volume.shape[0] == 1:
        if not bool(((volume == volume.round()) & (volume >= 0) & (volume <= num_foreground)).all()):
            raise InputError(
                f"class numbers must be integers from 0 to {num_foreground}, got {_shown(volume)}; map the classes in "
                "preprocessing, or turn network output into classes in postprocessing (AsDiscreted with argmax=True)."
            )
        return torch.cat([volume == k for k in range(1, num_foreground + 1)])
    if volume.shape[0] != num_foreground + 1:
        raise InputError(f"expected {num_foreground + 1} channels, background first, got {volume.shape[0]}.")
    if not bool(((volume == 0) | (volume == 1)).all()):
        raise InputError(
            f"one channel a class must hold 0 and 1 only, got {_shown(volume)}; end the postprocessing with "
            f"AsDiscreted(argmax=True, to_onehot={num_foreground + 1})."
        )
    return volume[1:] > 0


def check_volumes(predicted: torch.Tensor, reference: torch.Tensor) -> None:
    """Raise ``InputError`` unless both are ``[H, W, D]`` of one shape."""
    if predicted.shape != reference.shape:
        raise InputError(
            f"prediction and label differ in shape: {list(predicted.shape)} and {list(reference.shape)}; bring both "
            "to one grid in postprocessing (Invertd on both keys, or on neither)."
        )
    if predicted.ndim != 3:
        raise InputError(f"metrics are per volume in 3D, got one of shape {list(predicted.shape)}.")


def _check_spacing(spacing: Sequence[float]) -> None:
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"voxel spacing must be three lengths above 0 in mm, got {list(spacing)}; correct the affine.")


def _for_monai(mask: torch.Tensor) -> torch.Tensor:
    """Return ``[1, 1, H, W, D]`` on the CPU, where the surface search gives the same figures for every device."""
    plain: torch.Tensor = convert_to_tensor(mask, track_meta=False)
    return plain.cpu()[None, None].float()


def _shown(volume: torch.Tensor) -> str:
    values = torch.unique(volume)
    shown = ", ".join(f"{v:g}" for v in values[:_MOST_VALUES].tolist())
    return f"{shown} ... ({len(values)} different values)" if len(values) > _MOST_VALUES else shown
