# SPDX-License-Identifier: Apache-2.0
"""A MONAI trainer whose loss also sees a frozen teacher."""

from __future__ import annotations

from monai.engines import SupervisedTrainer

from akd_monai.engines.mixin import DistillationMixin

__all__ = ["DistillationTrainer"]


class DistillationTrainer(DistillationMixin, SupervisedTrainer):
    r"""Train ``network`` on its labels and, by named terms, on the outputs of a frozen ``teacher`` for the same images.

    .. math:: L = L_\mathrm{task} + \sum_n w_n L_n

    Only the loss of :class:`monai.engines.SupervisedTrainer` is extended: AMP, gradient accumulation, inferer, events and
    handlers are MONAI's. The teacher receives the same batch as the student (augmentation included), in ``eval`` mode and
    without gradients; neither its parameters nor its buffers change. Terms of weight 0 are not computed, and a run
    without any other term equals a plain run bit for bit: the teacher is not called at all.

    Each iteration stores its terms, detached, in ``engine.state.loss_terms``: ``"task"``, ``"unlabelled"`` where there are
    such images, and one entry a term.

    Adapters of the criterion (1x1 convolutions on student features) are trained by an optimizer of their own, of the same
    class, settings and learning rate as the student's. They are never part of ``network``.

    Args:
        teacher: network that returns logits for the student's input; a :class:`~akd_monai.teachers.TeacherEnsemble` of
            several; or an :class:`~akd_monai.teachers.EmaTeacher`, which averages the student's own weights.
        distillation: the named, weighted terms, see :class:`akd_monai.losses.DistillationCriterion`.
        input_shape: ``(channels, *spatial)`` of one input, used once to find the channels of the tapped layers;
            needed only when an adapter has to be built for a term.
        seed: of the adapters' initial weights.
        teacher_options: whether the teacher's outputs are cached, and how they are computed, as
            :class:`~akd_monai.teachers.TeacherOptions` or a mapping with its fields.
        teacher_output: which head of the teacher is meant, and which of its classes make up the student's, as
            :class:`~akd_monai.teachers.TeacherOutput` or a mapping with its fields; of several teachers a list of them.
        student_head: which output of a student that returns several is distilled, see
            :func:`~akd_monai.networks.select_head`; its own loss sees all of them.
        unlabelled: images without labels that are joined to each batch, and what is learnt on them, as
            :class:`~akd_monai.engines.UnlabelledOptions` or a mapping with its fields.
        kwargs: all arguments of :class:`monai.engines.SupervisedTrainer`.

    Raises:
        UnknownNameError: when a tapped layer does not exist in the student or the teacher.
        InputError: when an adapter has to be built and ``input_shape`` is missing, or when student and teacher logits
            do not fit each other.

    Attributes:
        teacher: the frozen network.
        distillation: the terms, with their adapters.
        teacher_source: where the teacher's outputs come from, a :class:`~akd_monai.teachers.TeacherSource`.
        adapter_optimizer: the adapters' optimizer, None without adapters.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from akd_monai.losses import DistillationCriterion
        >>> student, teacher = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
        >>> batch = {"image": torch.ones(1, 1, 4, 4), "label": torch.zeros(1, 1, 4, 4, dtype=torch.long)}
        >>> trainer = DistillationTrainer(
        ...     device="cpu", max_epochs=1, train_data_loader=[batch], network=student,
        ...     optimizer=torch.optim.SGD(student.parameters(), lr=0.1),
        ...     loss_function=lambda logits, label: torch.nn.functional.cross_entropy(logits, label[:, 0]),
        ...     teacher=teacher, distillation=DistillationCriterion([{"name": "logits", "loss": "logits", "weight": 0.2}]),
        ... )
        >>> trainer.run()
        >>> sorted(trainer.state.loss_terms)
        ['logits', 'task']

    Source: arXiv 2404.02738, eq. 8, for the sum; Hinton et al., 2015, arXiv:1503.02531, for the scheme.
    """
