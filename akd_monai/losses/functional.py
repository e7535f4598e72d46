# SPDX-License-Identifier: Apache-2.0
"""The mathematics of the three distillation terms as pure functions on tensors.

All of them take 2D maps ``[B, C, H, W]`` and 3D maps ``[B, C, H, W, D]``, compute in float32 (float64 stays float64)
with autocast off, and let no gradient reach the teacher. The results have the type of the computation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_monai.errors import InputError, check_choice, check_number
from akd_monai.losses._affinity.dispatch import fast_affinity
from akd_monai.losses._affinity.pairs import AffinityOptions, resize_labels
from akd_monai.losses._affinity.reference import reference_terms
from akd_monai.losses._checks import check_map, check_pair, full_precision, plain, wide
from akd_monai.losses.gram_matrix import gram_matrix

ALGORITHMS = ("auto", "reference", "box", "dense", "triton")
GRAM_MODES = ("batch", "channel", "spatial")
GRAM_NORMALIZE = ("l2", "dim", "none")
GRAM_REDUCTIONS = ("mean", "paper")
KL_DIRECTIONS = ("student_teacher", "teacher_student")


def affinity_terms(
    scores: Tensor,
    labels: Tensor,
    *,
    kernel: int = 3,
    dilation: int = 1,
    margin: float = 3.0,
    ignore_index: int | None = 255,
    class_balanced: bool = False,
    algorithm: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Return how far neighbours of one label are from each other, and how much neighbours of different label lack.

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
            ``"auto"``, see :func:`~akd_monai.losses._affinity.dispatch.choose_algorithm`. All give one value and
            gradient. A named algorithm that cannot serve is an error, never replaced.

    Returns:
        the scalars ``(L+, L-)``.

    Raises:
        InputError: if an argument is out of its range, shapes do not fit, labels are no integers, or the algorithm
            cannot serve.

    Example:
        >>> scores = torch.tensor([2.0, 0.0, 0.0, 2.0]).reshape(1, 2, 1, 2)  # two pixels, softmax margins 2 and -2
        >>> attract, repel = affinity_terms(scores, torch.tensor([[[0, 1]]]))
        >>> attract.item(), round(repel.item(), 4)  # no equal pair; 3 - 4 * sigmoid(2) + 2
        (0.0, 1.4768)

    Source: arXiv:2404.02738, section 2 (adaptive affinity module), equations 1 to 3.
    """
    options = AffinityOptions(kernel, dilation, margin, ignore_index, class_balanced)
    scores, labels = _affinity_maps(scores, labels, algorithm)
    with full_precision(scores):
        if algorithm == "reference":
            return reference_terms(scores, labels, options)
        attract, repel = fast_affinity(scores, labels, options, algorithm, [(1, 0), (0, 1)])
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
    algorithm: str = "auto",
) -> Tensor:
    r"""Return the sum of both affinity terms, ``L+ + L-``.

    Arguments, errors and shapes are those of :func:`affinity_terms`; the sum costs one pass where the terms cost two.

    Example:
        >>> scores = torch.zeros(1, 2, 4, 4)
        >>> affinity_loss(scores, torch.eye(4).long()[None]).item()  # nothing differs, every P- pair lacks the margin
        3.0

    Source: arXiv:2404.02738, section 2, equation 4.
    """
    options = AffinityOptions(kernel, dilation, margin, ignore_index, class_balanced)
    scores, labels = _affinity_maps(scores, labels, algorithm)
    with full_precision(scores):
        if algorithm == "reference":
            attract, repel = reference_terms(scores, labels, options)
            return attract + repel
        (total,) = fast_affinity(scores, labels, options, algorithm, [(1, 1)])
        return total


def _affinity_maps(scores: Tensor, labels: Tensor, algorithm: str) -> tuple[Tensor, Tensor]:
    """Return scores in float32 or wider and integer labels of their size."""
    check_choice("algorithm", algorithm, ALGORITHMS)
    check_map("scores", scores)
    if scores.shape[1] < 2:
        raise InputError(
            f"scores need at least two channels for a softmax, got shape {list(scores.shape)}: give the network two "
            "output channels (background, foreground) or attach the loss to a feature layer."
        )
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
    if labels.shape[0] != scores.shape[0]:
        raise InputError(
            f"scores and labels differ in batch size: {list(scores.shape)} and {list(labels.shape)}; both networks "
            "must see the same images."
        )
    if labels.numel() == 0:
        raise InputError(f"labels must not be empty, got shape {list(labels.shape)}.")
    labels = plain(labels.detach()).to(scores.device)
    if labels.dtype == torch.bool:
        labels = labels.byte()
    return wide(scores), resize_labels(labels, tuple(scores.shape[2:]))


def gram_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    mode: str = "batch",
    normalize: str = "l2",
    reduction: str = "mean",
    l1_weight: float = 1.0,
    adapter: Tensor | None = None,
) -> Tensor:
    r"""Return the distance of two Gram matrices, which hold the similarities of samples, channels or pixels.

    .. math:: D = K_S - K_T, \qquad \mathrm{mean}(D^2) + \lambda \, \mathrm{mean}(|D|)

    with :math:`K_{bc} = \langle x_b, x_c \rangle`, where a vector is

    * mode ``"batch"``: a whole sample, all ``C * H * W`` numbers; one matrix ``B x B``. The maps may differ in
      channels and size. With one sample and ``"l2"`` it is 0.
    * mode ``"channel"``: one channel of one sample; ``C x C`` per sample. Channels must agree.
    * mode ``"spatial"``: one pixel of one sample; ``HW x HW`` per sample (pool large maps first). Sizes must agree.

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
        InputError: if an argument is unknown or out of range, or shapes do not fit.

    Example:
        >>> student = torch.tensor([[3.0, 4.0], [1.0, 0.0]]).reshape(2, 1, 1, 2)
        >>> teacher = torch.eye(2).reshape(2, 1, 1, 2)
        >>> round(gram_loss(student, teacher).item(), 4)  # cosines 0.6 and 0: (2 * 0.36 + 2 * 0.6) / 4
        0.48

    Source: arXiv:2404.02738, section 2 (kernel matrix module), equations 5 and 6; ``"paper"`` with ``"none"`` is the
    printed form, the defaults make it independent of batch size and feature scale.
    """
    check_choice("mode", mode, GRAM_MODES)
    check_choice("normalize", normalize, GRAM_NORMALIZE)
    check_choice("reduction", reduction, GRAM_REDUCTIONS)
    check_number("l1_weight", l1_weight, at_least=0)
    remedy = 'set "adapter": "conv1x1" on the term'
    check_pair(student, teacher, channels=mode == "channel", spatial=mode == "spatial", remedy=remedy)
    if adapter is not None and (mode != "batch" or adapter.dim() != 2 or adapter.shape[1] != student.shape[1]):
        raise InputError(
            f"adapter must be weights [K, {student.shape[1]}] in mode 'batch', got shape {list(adapter.shape)} in mode "
            f"{mode!r}: apply the convolution first in other modes."
        )
    with full_precision(student):
        with torch.no_grad():
            target = gram_matrix(wide(teacher.detach()), mode, normalize)
        ours = wide(student)
        kernel = gram_matrix(ours, mode, normalize, None if adapter is None else adapter.to(ours.dtype))
        difference = kernel - target.to(kernel.dtype)
        squares, absolutes = difference.square(), difference.abs()
        if reduction == "mean":
            return squares.mean() + l1_weight * absolutes.mean()
        matrices, order = difference.shape[0], difference.shape[1]
        return squares.sum() / (order * matrices) + l1_weight * absolutes.sum() / matrices


def logits_kl(
    student: Tensor, teacher: Tensor, *, direction: str = "student_teacher", temperature: float = 1.0
) -> Tensor:
    r"""Return the Kullback-Leibler divergence of two networks' class probabilities.

    .. math:: T^2 \, \mathrm{mean}_{b,i} \sum_c p^S_c (\log p^S_c - \log p^T_c), \qquad
              p = \mathrm{softmax}(z / T)

    for ``"student_teacher"``; ``"teacher_student"`` exchanges the two. Summed over classes, averaged over pixels.

    Args:
        student: logits ``[B, C, *spatial]``, C >= 2.
        teacher: logits of the same shape.
        direction: ``"student_teacher"`` or ``"teacher_student"``.
        temperature: ``T``, above 0.

    Raises:
        InputError: if an argument is unknown or out of range, shapes do not fit, or there is one channel only.

    Example:
        >>> student = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)
        >>> teacher = torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
        >>> round(logits_kl(student, teacher).item(), 4)  # 2 * tanh(1)
        1.5232

    Source: arXiv:2404.02738, section 2 (logits module), equation 7; ``"teacher_student"`` with T > 1 is Hinton et
    al., 2015, arXiv:1503.02531.
    """
    check_choice("direction", direction, KL_DIRECTIONS)
    check_number("temperature", temperature, above=0)
    check_pair(student, teacher, channels=True, spatial=True, remedy="both networks need the same classes in one order")
    if student.shape[1] < 2:
        raise InputError(
            f"the softmax over one channel is always 1 (got shape {list(student.shape)}): give both networks two "
            "softmax channels (background, foreground)."
        )
    with full_precision(student):
        ours, theirs = wide(student), wide(teacher.detach())
        if temperature != 1:
            ours, theirs = ours / temperature, theirs / temperature
        log_student = ours.log_softmax(1)
        log_teacher = theirs.log_softmax(1)
        if direction == "teacher_student":
            log_student, log_teacher = log_teacher, log_student
        # kl_div's first argument is the second distribution of the divergence
        total = F.kl_div(log_teacher, log_student, reduction="sum", log_target=True)
        return total * (temperature**2 * student.shape[1] / student.numel())
