# SPDX-License-Identifier: Apache-2.0
"""The rows of one case in a table of metrics, and the checks that its volumes can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor

from akd_monai.data.geometry import GRID_TOLERANCE_MM, corner_distance_mm
from akd_monai.errors import InputError
from akd_monai.handlers._calibration import Reliability, foreground_probabilities, reliability
from akd_monai.handlers._mask_metrics import check_volumes, foreground_masks, mask_metrics

__all__ = ["calibration_rows", "case_rows"]


def case_rows(pred: torch.Tensor, label: torch.Tensor, class_names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the metrics of each class without the background, with its name under ``"class"``.

    Args:
        pred: integers ``[1, H, W, D]``, or zeros and ones ``[C, H, W, D]`` with the background first.
        label: of either form, on the same grid.
        class_names: names of the classes without the background; by default their numbers.

    Raises:
        InputError: if prediction and label cannot be compared.
    """
    spacing = _voxel_size(pred, label)
    names = class_names or _class_numbers(pred, label)
    predicted = foreground_masks(pred, len(names))
    reference = foreground_masks(label, len(names))
    rows = []
    for name, p, r in zip(names, predicted, reference, strict=True):
        rows.append({"class": name, **mask_metrics(p, r, spacing)})
    return rows


def calibration_rows(
    probability: torch.Tensor, label: torch.Tensor, class_names: Sequence[str]
) -> list[tuple[str, Reliability]]:
    """Return how reliable the probabilities of each class are, by its name.

    Args:
        probability: ``[C, H, W, D]``, one channel a class, with or without the background in front.
        label: as for :func:`case_rows`, on the same grid.
        class_names: names of the classes without the background.

    Raises:
        InputError: if both cannot be compared, or there is no probability in ``probability``.
    """
    reference = foreground_masks(label, len(class_names))
    given = foreground_probabilities(probability, len(class_names))
    return [(name, reliability(p, r)) for name, p, r in zip(class_names, given, reference, strict=True)]


def _class_numbers(pred: torch.Tensor, label: torch.Tensor) -> list[str]:
    channels = {int(volume.shape[0]) for volume in (pred, label)} - {1}
    if len(channels) > 1:
        raise InputError(
            f"prediction and label have {pred.shape[0]} and {label.shape[0]} channels; give both one channel a class."
        )
    highest = channels.pop() - 1 if channels else max(int(pred.max()), int(label.max()), 1)
    return [str(k) for k in range(1, highest + 1)]


def _voxel_size(pred: torch.Tensor, label: torch.Tensor) -> list[float]:
    """Return the spacing along each axis in mm, once prediction and label are known to share one grid."""
    check_volumes(pred[0], label[0])
    placed = [volume for volume in (label, pred) if isinstance(volume, MetaTensor)]
    if not placed:
        raise InputError("neither prediction nor label has an affine to give lengths in mm; keep MONAI's meta data.")
    if len(placed) == 2:
        first, second = (volume.affine.double().cpu().numpy() for volume in placed)
        apart = corner_distance_mm(first, second, label.shape[1:])
        if not apart <= GRID_TOLERANCE_MM:
            raise InputError(
                f"prediction and label lie {apart:.2f} mm apart by their affines, allowed are {GRID_TOLERANCE_MM} mm; "
                "bring both to one grid in postprocessing (Invertd on both keys, or on neither)."
            )
    return [float(length) for length in placed[0].pixdim]
