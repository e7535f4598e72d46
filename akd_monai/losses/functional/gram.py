# SPDX-License-Identifier: Apache-2.0
"""The distance of two Gram matrices of feature maps."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from akd_monai.errors import InputError, check_choice, check_number
from akd_monai.losses._checks import check_map, check_pair, full_precision, wide
from akd_monai.losses.functional._gram_matrix import GramMode, GramNormalize, GramReduction, gram_matrix

__all__ = ["GramMode", "GramNormalize", "GramReduction", "gram_loss"]

# What is compared with each other, what one of them alone is, and the remedy.
_ALONE: dict[GramMode, tuple[str, str, str]] = {
    "batch": ("images of a batch", "batch of one", "set mode to 'channel', or use batches of two or more images"),
    "channel": ("channels of an image", "map of one channel", "choose another layer, or set mode to 'batch'"),
    "spatial": ("pixels of an image", "map of one pixel", "choose a layer of higher resolution, or another mode"),
}


def gram_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    mode: GramMode = "batch",
    normalize: GramNormalize = "l2",
    reduction: GramReduction = "mean",
    l1_weight: float = 1.0,
    adapter: Tensor | None = None,
) -> Tensor:
    r"""Return the distance of two Gram matrices, which hold the similarities of samples, channels or pixels.

    .. math:: D = K_S - K_T, \qquad \mathrm{mean}(D^2) + \lambda \, \mathrm{mean}(|D|)

    with :math:`K_{bc} = \langle x_b, x_c \rangle`, where a vector is

    * mode ``"batch"``: a sample with all its ``C * H * W`` numbers; one matrix ``B x B``. The maps may differ in
      channels and size.
    * mode ``"channel"``: one channel of one sample; ``C x C`` per sample. Channels must agree.
    * mode ``"spatial"``: one pixel of one sample; ``HW x HW`` per sample (pool large maps first). Sizes must agree.
    * mode ``"auto"``: ``"batch"`` for 2D maps, ``"channel"`` for 3D maps, whose batches often are one volume.

    With ``"l2"`` two vectors are needed in each of them: one alone resembles itself, in any network.

    On CUDA the products obey PyTorch's TF32 switch, off by default; with it on, differences below 1e-3 are noise.

    Args:
        student: the student's features after the adapter, ``[B, C, *spatial]``.
        teacher: the teacher's features.
        mode: see above.
        normalize: ``"l2"`` scales every vector to length 1 (divides by max(length, 1e-12); a vector of zeros receives
            no gradient), ``"dim"`` divides the matrix by the vectors' number of entries, ``"none"`` changes nothing.
        reduction: ``"mean"`` over all entries of all matrices; ``"paper"``: ``sum(D^2) / n + sum(|D|)``, n the order
            of the matrix, averaged over the samples in the modes that have one matrix per sample.
        l1_weight: factor of the second term, at least 0.
        adapter: weights ``[K, C]`` of a 1x1 convolution without bias that comes before the student's matrix, in mode
            ``"batch"``: the same as to convolve first, by products of C channels instead of K.

    Raises:
        InputError: if an argument is unknown or out of range, shapes do not fit, or there is one vector only.

    Example:
        >>> student = torch.tensor([[3.0, 4.0], [1.0, 0.0]]).reshape(2, 1, 1, 2)
        >>> teacher = torch.eye(2).reshape(2, 1, 1, 2)
        >>> round(gram_loss(student, teacher).item(), 4)  # cosines 0.6 and 0: (2 * 0.36 + 2 * 0.6) / 4
        0.48

    Source: arXiv:2404.02738, section 2 (kernel matrix module), equations 5 and 6; ``"paper"`` with ``"none"`` is the
    printed form, the defaults make it independent of batch size and feature scale.
    """
    _check_gram_options(mode, normalize, reduction, l1_weight)
    check_map("the student's map", student)
    if _is_alone(student, mode, normalize):
        raise _alone(student, mode)
    return _gram_distance(student, teacher, mode, normalize, reduction, l1_weight, adapter)


def _gram_distance(
    student: Tensor,
    teacher: Tensor,
    mode: GramMode,
    normalize: GramNormalize,
    reduction: GramReduction,
    l1_weight: float,
    adapter: Tensor | None,
) -> Tensor:
    """Return the loss for checked options, also of one sample; arguments as in :func:`gram_loss`."""
    mode = _mode_for(mode, student)
    remedy = 'set "adapter": "conv1x1" on the term'
    check_pair(student, teacher, channels=mode == "channel", spatial=mode == "spatial", remedy=remedy)
    _check_adapter(adapter, student, mode)
    with full_precision(student):
        with torch.no_grad():
            target = gram_matrix(wide(teacher.detach()), mode, normalize)
        ours = wide(student)
        weight = None if adapter is None else adapter.to(ours.dtype)
        kernel = gram_matrix(ours, mode, normalize, weight)
        return _distance(kernel, target.to(kernel.dtype), reduction, l1_weight)


def _mode_for(mode: GramMode, features: Tensor) -> GramMode:
    """Return the mode that ``"auto"`` stands for."""
    if mode != "auto":
        return mode
    return "channel" if features.dim() == 5 else "batch"


def _is_alone(features: Tensor, mode: GramMode, normalize: GramNormalize) -> bool:
    """Return whether the matrix holds but the similarity of one vector to itself, which is 1 whatever the vector is."""
    counts = {"batch": len(features), "channel": features.shape[1], "spatial": features[0, 0].numel()}
    return normalize == "l2" and counts[_mode_for(mode, features)] == 1


def _alone(features: Tensor, mode: GramMode) -> InputError:
    """Return the error for features of one vector."""
    mode = _mode_for(mode, features)
    compared, single, remedy = _ALONE[mode]
    return InputError(
        f"mode {mode!r} compares the {compared} with each other, and a {single} has a loss and a gradient of 0: {remedy}."
    )


def _check_gram_options(mode: str, normalize: str, reduction: str, l1_weight: float) -> None:
    """Raise ``InputError`` unless the options of :func:`gram_loss` are known and in their range."""
    check_choice("mode", mode, get_args(GramMode))
    check_choice("normalize", normalize, get_args(GramNormalize))
    check_choice("reduction", reduction, get_args(GramReduction))
    check_number("l1_weight", l1_weight, at_least=0)


def _check_adapter(adapter: Tensor | None, student: Tensor, mode: GramMode) -> None:
    if adapter is None:
        return
    if mode != "batch" or adapter.dim() != 2 or adapter.shape[1] != student.shape[1]:
        raise InputError(
            f"adapter must be weights [K, {student.shape[1]}] in mode 'batch', got shape {list(adapter.shape)} in mode "
            f"{mode!r}: apply the convolution first in other modes."
        )


def _distance(kernel: Tensor, target: Tensor, reduction: GramReduction, l1_weight: float) -> Tensor:
    """Return the distance of matrices ``[M, n, n]``."""
    difference = kernel - target
    squares = difference.square()
    absolutes = difference.abs()
    if reduction == "mean":
        return squares.mean() + l1_weight * absolutes.mean()
    matrices, order = difference.shape[:2]
    return squares.sum() / (order * matrices) + l1_weight * absolutes.sum() / matrices
