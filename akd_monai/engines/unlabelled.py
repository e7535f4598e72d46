# SPDX-License-Identifier: Apache-2.0
"""How images without labels take part in a distillation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from akd_monai.errors import InputError, check_choice, check_mapping, check_number

__all__ = ["PseudoLabels", "UnlabelledOptions"]

#: What a student learns from a teacher on images without labels, its decision, or its class probabilities.
PseudoLabels = Literal["hard", "soft"]


@dataclass(frozen=True)
class UnlabelledOptions:
    r"""Images without labels that are joined to each batch, and what the student learns from the teacher on them.

    .. math:: L = \lambda_\mathrm{task} \, L_\mathrm{task}(\text{labelled}) + \lambda_\mathrm{unlabelled} \,
              L_\mathrm{pseudo}(\text{unlabelled}) + \sum_n w_n L_n(\text{all})

    With ``"hard"``, :math:`L_\mathrm{pseudo}` is the student's own task loss with the teacher's decision as label: the
    class of the largest logit or, of sigmoid channels, where the logit is above 0. An image counts if the teacher's
    confidence in it is at least :math:`\kappa`, the ``confidence``: the mean over its pixels of
    :math:`q_i = \max_c p^T_{i,c}` (of sigmoid channels :math:`\mathrm{mean}_c \max(p^T_{i,c}, 1 - p^T_{i,c})`), taken
    where the teacher decides for foreground, that is for a class other than 0 or for any sigmoid channel, or over all
    pixels where it never does. Of :math:`U` images, those :math:`K` that count,

    .. math:: L_\mathrm{pseudo} = \frac{|K|}{U} \, L_\mathrm{task}(K)

    With ``"soft"`` it is the Kullback-Leibler divergence from the teacher to the student, where the pixels of lesser
    confidence count as 0:

    .. math:: L_\mathrm{pseudo} = \mathrm{mean}_{b,i} \Big( [\max_c p^T_{i,c} \ge \kappa]
              \sum_c p^T_{i,c} \log \frac{p^T_{i,c}}{p^S_{i,c}} \Big)

    and of sigmoid channels the mean over :math:`b, i, c` of the divergences of Bernoulli distributions, with
    :math:`\max(p^T_{i,c}, 1 - p^T_{i,c}) \ge \kappa` for each channel.

    With ``task_weight`` 0 no label is used: the labelled images of a batch then count as unlabelled, and
    :math:`L_\mathrm{pseudo}` is taken over all images.

    A config gives the options as one mapping, ``unlabelled`` of the trainer; what it leaves out has its default.

    Args:
        data: the images, a list of cases as the student's data set takes them; labels in it are not read.
        batch_size: images joined to each batch by each process; 0 for none.
        pseudo_labels: ``"hard"`` or ``"soft"``.
        confidence: least confidence, 0 to 1; ``None`` if all counts.
        weight: :math:`\lambda_\mathrm{unlabelled}`, at least 0.
        task_weight: :math:`\lambda_\mathrm{task}`, at least 0.
        seed: of the order and of the random transforms of the images.
        transform: transforms of an image, in place of the student's training transforms.

    Raises:
        InputError: if a value is of the wrong kind or out of range, or images are asked for and there are none.

    Example:
        >>> UnlabelledOptions.read({"weight": 0.5}).is_active
        False
        >>> UnlabelledOptions(batch_size=4)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: unlabelled_batch_size is 4, but there is no unlabelled image; ...

    Source: Sohn et al., FixMatch, 2020, arXiv:2001.07685, equation 4, for what is below the threshold and counts as 0;
    Lee, Pseudo-Label, ICML 2013 workshop, for hard labels.
    """

    data: Sequence[Mapping[str, Any]] | None = None
    batch_size: int = 0
    pseudo_labels: PseudoLabels = "hard"
    confidence: float | None = None
    weight: float = 1.0
    task_weight: float = 1.0
    seed: int = 0
    transform: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None

    def __post_init__(self) -> None:
        check_choice("pseudo_labels", self.pseudo_labels, get_args(PseudoLabels))
        check_number("lambda_unlabelled", self.weight, at_least=0)
        check_number("lambda_task", self.task_weight, at_least=0)
        is_count = isinstance(self.batch_size, Integral) and not isinstance(self.batch_size, bool)
        if not is_count or self.batch_size < 0:
            raise InputError(f"unlabelled_batch_size must be an integer of at least 0, got {self.batch_size!r}.")
        if self.confidence is not None and not _is_share(self.confidence):
            raise InputError(f"confidence must be a number from 0 to 1, or null, got {self.confidence!r}.")
        if self.batch_size and not self.data:
            raise InputError(
                f"unlabelled_batch_size is {self.batch_size}, but there is no unlabelled image",
                remedy="keep labels of some cases only (labelled_cases), prepare images without mask, or give "
                "unlabelled_data",
            )

    @classmethod
    def read(cls, given: UnlabelledOptions | Mapping[str, Any] | None) -> UnlabelledOptions:
        """Return the options that a config gives as a mapping.

        Raises:
            InputError: if it is no mapping, or a value is wrong.
            UnknownNameError: if an entry does not exist.
        """
        if isinstance(given, UnlabelledOptions):
            return given
        known = [field.name for field in fields(cls)]
        return cls(**check_mapping("unlabelled", {} if given is None else given, known))

    @property
    def is_active(self) -> bool:
        """Whether anything differs from a distillation on labelled images."""
        return self.batch_size > 0 or self.task_weight != 1


def _is_share(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1
