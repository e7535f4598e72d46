# SPDX-License-Identifier: Apache-2.0
"""How far the probabilities of a structure are from how often it is there, in one volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.utils import convert_to_numpy

from akd_monai.errors import InputError

__all__ = ["BINS", "Reliability", "foreground_probabilities", "reliability"]

BINS = 15
# Resampling and half precision may leave a probability this far outside of 0 to 1.
_SLACK = 1e-2


@dataclass(frozen=True)
class Reliability:
    """The voxels of a volume by their probability, in 15 bins of equal width from 0 to 1.

    Attributes:
        voxels: number of voxels in each bin.
        probability: sum of their probabilities.
        inside: how many of them lie in the reference.
    """

    voxels: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]
    inside: npt.NDArray[np.float64]

    def error(self) -> float:
        r"""Return the expected calibration error, from 0 to 1.

        .. math:: \sum_b \frac{n_b}{n} \left| \bar p_b - f_b \right|

        with the number of voxels :math:`n_b`, the mean probability :math:`\bar p_b` and the fraction inside the
        reference :math:`f_b` of bin b.
        """
        return float(np.abs(self.probability - self.inside).sum() / self.voxels.sum())

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each bin that is not empty: its number from 0, voxels, mean probability and fraction."""
        rows = []
        for number in np.flatnonzero(self.voxels):
            count = self.voxels[number]
            means = {"probability": self.probability[number] / count, "fraction": self.inside[number] / count}
            rows.append({"bin": int(number), "voxels": int(count), **means})
        return rows


def reliability(probability: torch.Tensor, reference: torch.Tensor) -> Reliability:
    """Sort the voxels of a volume into bins by the probability of one structure.

    Args:
        probability: of the structure, ``[H, W, D]``, 0 to 1.
        reference: true inside the structure, of that shape.

    Raises:
        InputError: if the shapes differ, or a value is no probability.

    Example:
        >>> found = reliability(torch.tensor([[[0.9, 0.9, 0.2, 0.2]]]), torch.tensor([[[True, False, False, False]]]))
        >>> found.voxels[[3, 13]].tolist(), round(found.error(), 3)
        ([2.0, 2.0], 0.3)

    Source: C. Guo et al., On calibration of modern neural networks, ICML 2017, equation 3, for one class against the
    rest. MONAI's ``CalibrationErrorMetric`` counts in 32-bit floats, which end at 16.8 million voxels a bin.
    """
    if probability.shape != reference.shape:
        raise InputError(
            f"probability and label differ in shape: {list(probability.shape)} and {list(reference.shape)}; copy the "
            "probabilities after they are back on the grid of the label (CopyItemsd after Invertd)."
        )
    values = convert_to_numpy(probability).astype(np.float64).ravel()
    if not (values.min() >= -_SLACK and values.max() <= 1 + _SLACK):
        raise InputError(
            f"probabilities must be from 0 to 1, got {values.min():g} to {values.max():g}; copy them after the softmax "
            "or sigmoid (CopyItemsd after Activationsd)."
        )
    values = values.clip(0, 1)
    inside = convert_to_numpy(reference).astype(np.float64).ravel()
    voxels, probabilities, insides = (
        np.histogram(values, BINS, (0, 1), weights=weights)[0] for weights in (np.ones_like(values), values, inside)
    )
    return Reliability(voxels=voxels, probability=probabilities, inside=insides)


def foreground_probabilities(volume: torch.Tensor, num_foreground: int) -> torch.Tensor:
    """Return the probability of each class without the background, ``[num_foreground, H, W, D]``.

    Args:
        volume: one channel a class, ``[C, H, W, D]``, with or without the background in front.
        num_foreground: number of classes without the background.

    Raises:
        InputError: for another number of channels.

    Example:
        >>> foreground_probabilities(torch.tensor([0.9, 0.1]).reshape(2, 1, 1, 1), 1).flatten().tolist()
        [0.10000000149011612]
    """
    if volume.shape[0] not in (num_foreground, num_foreground + 1):
        raise InputError(
            f"the probabilities have {volume.shape[0]} channels for {num_foreground} classes; give one channel a class, "
            "with or without the background in front."
        )
    return volume[-num_foreground:]
