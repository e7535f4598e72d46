# SPDX-License-Identifier: Apache-2.0
"""The affinity of neighbouring pixels: its two terms, and their sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from akd_monai.errors import InputError, check_choice
from akd_monai.losses._affinity import AffinityOptions, compute_affinity
from akd_monai.losses._checks import check_map, full_precision, plain, wide

__all__ = ["AffinityAlgorithm", "StudentMap", "affinity_loss", "affinity_terms"]

AffinityAlgorithm = Literal["auto", "reference", "box", "dense", "triton"]
#: What the student's map of an affinity term is.
StudentMap = Literal["features", "logits"]


def affinity_terms(
    scores: Tensor,
    labels: Tensor,
    *,
    kernel: int = 3,
    dilation: int = 1,
    margin: float = 3.0,
    ignore_index: int | None = 255,
    class_balanced: bool = False,
    algorithm: AffinityAlgorithm = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Return the mean divergence of neighbours of one label, and the mean lack of divergence between different labels.

    .. math:: W_{ij} = \sum_c p_i^c (\log p_i^c - \log p_j^c), \quad
              L^+ = \frac{1}{|P^+|} \sum_{P^+} W_{ij}, \quad
              L^- = \frac{1}{|P^-|} \sum_{P^-} \max(0, m - W_{ij})

    ``P+`` and ``P-`` are the ordered pairs of pixels of one image, inside the image, neither ignored, whose offset is
    ``dilation`` times a vector with entries in ``-R..R``, ``R = (kernel - 1) / 2``, and whose labels are equal
    (``P+``) or different (``P-``). Both sets are pooled over the batch; an empty one gives exactly 0, still connected
    to the graph.

    Args:
        scores: the student's map before the softmax, ``[B, C, *spatial]``, C >= 2.
        labels: integers ``[B, *spatial]``; another spatial size is brought to that of ``scores`` by nearest-exact.
        kernel: side of the window in pixels, odd, at least 3.
        dilation: distance of neighbouring pixels of the window, at least 1.
        margin: ``m`` in nats, above 0.
        ignore_index: label of pixels that belong to no pair; ``None`` for none.
        class_balanced: make ``L+`` the mean, over the classes that own a ``P+`` pair, of the class's mean ``W``.
        algorithm: ``"reference"`` (shifts and autograd), ``"box"`` (box sums and the pairs at borders; best on smooth
            label maps), ``"dense"`` (every pair; best on ragged label maps), ``"triton"`` (fused, CUDA, float32), or
            ``"auto"``: on a CPU box or dense, by the labels; on CUDA Triton where it is applicable, else dense;
            elsewhere the reference. All give one value and gradient. A named algorithm that is not applicable is an
            error, never replaced.

    Returns:
        the scalars ``(L+, L-)``.

    Raises:
        InputError: if an argument is out of its range, shapes do not fit, labels are no integers, or the algorithm is
            not applicable.

    Example:
        >>> scores = torch.tensor([2.0, 0.0, 0.0, 2.0]).reshape(1, 2, 1, 2)  # two pixels, softmax margins 2 and -2
        >>> attract, repel = affinity_terms(scores, torch.tensor([[[0, 1]]]))
        >>> attract.item(), round(repel.item(), 4)  # no equal pair; 3 - 4 * sigmoid(2) + 2
        (0.0, 1.4768)

    Source: arXiv:2404.02738, section 2 (adaptive affinity module), equations 1 to 3.
    """
    options = _affinity_options(kernel, dilation, margin, ignore_index, class_balanced, algorithm)
    attract, repel = _affinity(scores, labels, options, algorithm, [(1.0, 0.0), (0.0, 1.0)])
    return attract, repel


def affinity_loss(
    scores: Tensor,
    labels: Tensor,
    *,
    kernel: int = 3,
    dilation: int = 1,
    margin: float = 3.0,
    ignore_index: int | None = 255,
    class_balanced: bool = False,
    algorithm: AffinityAlgorithm = "auto",
) -> Tensor:
    r"""Return the sum of both affinity terms, ``L+ + L-``.

    Arguments, errors and shapes are those of :func:`affinity_terms`; the sum costs one pass where the terms cost two.

    Example:
        >>> scores = torch.zeros(1, 2, 4, 4)
        >>> affinity_loss(scores, torch.eye(4).long()[None]).item()  # nothing differs, every P- pair lacks the margin
        3.0

    Source: arXiv:2404.02738, section 2, equation 4.
    """
    options = _affinity_options(kernel, dilation, margin, ignore_index, class_balanced, algorithm)
    (total,) = _affinity(scores, labels, options, algorithm, [(1.0, 1.0)])
    return total


def _affinity_of_logits(
    scores: Tensor,
    logits: Tensor,
    decide: Callable[[Tensor], Tensor],
    options: AffinityOptions,
    algorithm: AffinityAlgorithm,
) -> Tensor:
    """Return ``L+ + L-`` with labels from a teacher's logits.

    Logits of another size are resized before the decision, which costs more than the loss on a map of full size.

    Args:
        scores: ``[B, C, *spatial]``.
        logits: ``[B, K, *spatial]``, of any spatial size.
        decide: returns the labels ``[B, *spatial]`` of logits.
        options: the pairs and the margin.
        algorithm: as asked for.
    """
    (total,) = _affinity(scores, logits, options, algorithm, [(1.0, 1.0)], decide)
    return total


def _affinity_of_channels(
    student: Tensor,
    logits: Tensor,
    options: AffinityOptions,
    algorithm: AffinityAlgorithm,
    student_map: StudentMap | None,
) -> Tensor:
    """Return the mean over the channels of a teacher's logits of the loss under each channel's own two labels.

    Args:
        student: ``[B, C, *spatial]``.
        logits: ``[B, K, *spatial]`` of sigmoid channels, of any spatial size.
        options: the pairs and the margin.
        algorithm: as asked for.
        student_map: what the student's map is; ``None``: logits where it has K channels, else features.
    """
    check_map("the student's map", student)
    check_map("the teacher's logits", logits)
    channels = logits.shape[1]
    is_logits = student_map == "logits" or (student_map is None and student.shape[1] == channels)
    if is_logits and student.shape[1] != channels:
        raise InputError(
            f"the student's logits and the teacher's differ in channels ({student.shape[1]} and {channels}): both networks "
            "need the same classes in one order, or student_map must be 'features'."
        )
    mean = [(1 / channels, 1 / channels)]
    total = None
    for k in range(channels):
        # The softmax over (0, z) is the sigmoid of z.
        scores = _with_zero(student[:, k : k + 1]) if is_logits else student
        (value,) = _affinity(scores, logits[:, k : k + 1], options, algorithm, mean, _present)
        total = value if total is None else total + value
    return total  # type: ignore[return-value]  # there is at least one channel


def _with_zero(channel: Tensor) -> Tensor:
    channel = wide(channel)
    return torch.cat([torch.zeros_like(channel), channel], 1)


def _present(logits: Tensor) -> Tensor:
    """Return the labels ``[B, *spatial]`` of one sigmoid channel ``[B, 1, *spatial]``."""
    return (logits[:, 0] > 0).byte()


def _affinity_options(
    kernel: int, dilation: int, margin: float, ignore_index: int | None, class_balanced: bool, algorithm: str
) -> AffinityOptions:
    """Return the options of a call, checked.

    Raises:
        InputError: if one of them is out of its range or unknown.
    """
    check_choice("algorithm", algorithm, get_args(AffinityAlgorithm))
    return AffinityOptions(kernel, dilation, margin, ignore_index, class_balanced)


def _affinity(
    scores: Tensor,
    given: Tensor,
    options: AffinityOptions,
    algorithm: AffinityAlgorithm,
    factors: Sequence[tuple[float, float]],
    decide: Callable[[Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Return ``a * L+ + r * L-`` for each pair (a, r) of ``factors``: the path of every call, from checks to values.

    Args:
        scores: ``[B, C, *spatial]``.
        given: labels ``[B, *spatial]`` or, where ``decide`` is given, logits ``[B, K, *spatial]``.
        options: the pairs and the margin.
        algorithm: as asked for.
        factors: one pair for each scalar.
        decide: returns the labels of logits.
    """
    _check_scores(scores)
    if decide is None:
        _check_labels(given, scores)
    else:
        _check_logits(given, scores)
    labels = _nearest_exact(plain(given.detach()), tuple(scores.shape[2:]))
    if decide is not None:
        labels = decide(labels)
    labels = labels.to(scores.device)
    if labels.dtype == torch.bool:
        labels = labels.byte()
    with full_precision(scores):
        return compute_affinity(wide(scores), labels, options, algorithm, factors)


def _check_scores(scores: Tensor) -> None:
    check_map("scores", scores)
    shape = list(scores.shape)
    if shape[1] < 2:
        raise InputError(
            f"scores need at least two channels for a softmax, got shape {shape}: set activation to 'sigmoid' for the "
            "logits of one sigmoid channel, or attach the loss to a feature layer."
        )


def _check_labels(labels: Tensor, scores: Tensor) -> None:
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise InputError(
            f"labels must be a tensor of integers, got {kind}: take argmax(dim=1) of the teacher's logits."
        )
    if labels.dim() != scores.dim() - 1:
        raise InputError(
            f"labels must be [B, *spatial] for scores of shape {list(scores.shape)}, got shape {list(labels.shape)}: "
            "drop a channel axis of one by labels[:, 0], or take argmax(dim=1) of logits."
        )
    if labels.numel() == 0:
        raise InputError(f"labels must not be empty, got shape {list(labels.shape)}.")
    _check_batch("labels", labels, scores)


def _check_logits(logits: Tensor, scores: Tensor) -> None:
    check_map("the teacher's logits", logits)
    if logits.dim() != scores.dim():
        raise InputError(
            f"scores of shape {list(scores.shape)} need logits of as many dimensions, got shape {list(logits.shape)}: "
            "both networks must be 2D or both 3D."
        )
    _check_batch("the teacher's logits", logits, scores)


def _check_batch(what: str, given: Tensor, scores: Tensor) -> None:
    if given.shape[0] != scores.shape[0]:
        raise InputError(
            f"scores and {what} differ in batch size: {list(scores.shape)} and {list(given.shape)}; both networks must "
            "see the same images."
        )


def _nearest_exact(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize the last axes by nearest-exact: output r takes input ``floor((r + 0.5) * n_in / n_out)``.

    Done on indices, so that it is exact for every type and size.

    Example:
        >>> _nearest_exact(torch.arange(8).reshape(1, 1, 8), (1, 2))
        tensor([[[2, 6]]])
    """
    for axis, n_out in enumerate(size, start=maps.dim() - len(size)):
        n_in = maps.shape[axis]
        if n_in != n_out:
            rows = (2 * torch.arange(n_out, device=maps.device) + 1) * n_in // (2 * n_out)
            maps = maps.index_select(axis, rows)
    return maps
