# SPDX-License-Identifier: Apache-2.0
"""A distillation criterion: a list of named, weighted terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from akd_monai.errors import InputError, check_number, unknown_name
from akd_monai.keys import random_key
from akd_monai.losses._adapters import conv1x1, plain_weight
from akd_monai.losses._regions import required_labels
from akd_monai.losses._statements import adapter_path, needs_labels
from akd_monai.losses.balance import BalanceBy, TermBalance
from akd_monai.losses.terms import DistillationTerm, _named_entry, _naming_term, _read_term

__all__ = ["DistillationCriterion"]

T = TypeVar("T")
# that of one teacher, or those of several
_TeacherMap = Tensor | tuple[Tensor, ...]


class DistillationCriterion(nn.Module):
    """Compute named distillation terms from the logits and features of a student and its teacher.

    Terms of weight 0 are checked, but neither built nor computed. Without an active term the criterion returns ``{}``.

    Args:
        terms: :class:`DistillationTerm` objects or mappings with the same entries, as a config gives them. There
            ``loss`` may be a name of the registry, with the arguments of its class under ``options``. Either a list, or
            a mapping from the name of each term, which then needs no entry ``name``; its order is kept, and a term that
            is ``None`` is left out. A config with a mapping gives every value an id of its own, such as
            ``distillation#terms#gram#loss#mode``.
        balance: ``"value"`` or ``"gradient"`` to make each weight the share of its term in the task loss, as
            :class:`TermBalance` describes; ``None`` for weights as they are.

    Attributes:
        active: the terms of positive weight, in the given order.
        student_layers: module paths of the features needed from the student, sorted, each once.
        teacher_layers: the same for the teacher.
        adapters: the modules applied to the student's maps, by name of the term. They train with the student.
        losses: the loss modules, by name of the term.
        needs_labels: whether a term compares regions of the ground truth.
        balance: as given.

    Raises:
        InputError: if names repeat, or an entry of a term is wrong.
        UnknownNameError: if a loss, one of its options or an entry of a term is unknown.

    Example:
        >>> import torch
        >>> criterion = DistillationCriterion(
        ...     [{"name": "soft", "loss": "logits", "weight": 0.5}, {"name": "off", "loss": "gram", "weight": 0}]
        ... )
        >>> student, teacher = torch.zeros(1, 2, 2, 2), torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
        >>> {name: round(value.item(), 4) for name, value in criterion(student, teacher, {}, {}).items()}
        {'soft': 0.2169}
        >>> [term.name for term in DistillationCriterion({"soft": {"loss": "logits"}, "gram": None}).active]
        ['soft']

    Source: arXiv:2404.02738, section 2, equation 8.
    """

    def __init__(
        self,
        terms: Sequence[DistillationTerm | Mapping[str, object]]
        | Mapping[str, DistillationTerm | Mapping[str, object]],
        balance: BalanceBy | None = None,
    ) -> None:
        super().__init__()
        self.balance: BalanceBy | None = balance
        self.active = _read_terms(terms)
        self.student_layers = sorted({t.student_layer for t in self.active if t.student_layer is not None})
        self.teacher_layers = sorted({t.teacher_layer for t in self.active if t.teacher_layer is not None})
        self.needs_labels = any(needs_labels(t.loss) for t in self.active)
        self.losses = nn.ModuleDict({t.name: t.loss for t in self.active})
        self.adapters = nn.ModuleDict({t.name: t.adapter for t in self.active if isinstance(t.adapter, nn.Module)})
        # a buffer more would be another checkpoint
        self.balancing = None if balance is None else TermBalance([t.name for t in self.active], balance)
        self._epoch: float | None = None

    def set_epoch(self, epoch: float) -> None:
        """Say how many epochs are completed, before each step; a fraction within an epoch.

        A ``DistillationTrainer`` does so. A loop of one's own needs it only for terms with a schedule.

        Raises:
            InputError: if ``epoch`` is no number of at least 0.

        Example:
            >>> import torch
            >>> ramp = {"loss": "logits", "schedule": {"ramp_epochs": 2}}
            >>> criterion = DistillationCriterion({"soft": ramp})
            >>> criterion.set_epoch(0)
            >>> criterion(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2), {}, {})
            {'soft': tensor(0.)}
        """
        check_number("the epoch of a criterion", epoch, at_least=0)
        self._epoch = epoch

    def build_adapters(
        self, student_channels: Mapping[str, int], teacher_channels: Mapping[str, int], spatial_dims: int, seed: int
    ) -> None:
        """Build the ``"conv1x1"`` adapters, before the optimiser is created and a checkpoint is loaded.

        Weights are a function of ``seed`` and the term's name alone; the global random state is not used. A second call
        replaces the adapters by untrained ones.

        Args:
            student_channels: channels of the student's map by module path; ``""`` is the network itself, its logits.
            teacher_channels: the same for the teacher.
            spatial_dims: 2 or 3.
            seed: seed of the run.

        Raises:
            InputError: if ``spatial_dims`` is neither 2 nor 3.
            UnknownNameError: if the channels of a layer are missing.
        """
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims must be 2 or 3, got {spatial_dims!r}.")
        for term in self.active:
            if term.adapter != "conv1x1":
                continue
            with _naming_term(term.name):
                in_channels = _look_up("channels of the student", term.student_layer or "", student_channels)
                out_channels = _look_up("channels of the teacher", term.teacher_layer or "", teacher_channels)
            key = random_key(seed, "adapter", term.name)
            self.adapters[term.name] = conv1x1(spatial_dims, in_channels, out_channels, key)

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        student_features: Mapping[str, Tensor],
        teacher_features: Mapping[str, _TeacherMap],
        labels: Tensor | None = None,
        labelled: int | None = None,
        task: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return ``{name: weight * loss}`` of the active terms, scalars to be added to the segmentation loss.

        Args:
            student_logits: ``[B, K, *spatial]``.
            teacher_logits: ``[B, K, *spatial]`` on the same images. No gradient reaches the teacher's tensors.
            student_features: maps by module path; at least :attr:`student_layers`.
            teacher_features: maps by module path; at least :attr:`teacher_layers`. A tuple holds those of several teachers,
                over which the loss is averaged.
            labels: ground truth of the task for the same images, for losses that state that they need it.
            labelled: how many of the images, the first ones, have labels: such losses see these alone. All by default.
            task: the task loss of the same images, a scalar, with which terms are balanced.

        Raises:
            InputError: if adapters were not built, labels are missing that a loss needs, or a loss refuses its maps; the
                message names the term. If terms are balanced and ``task`` is missing, or :meth:`set_epoch` was not called
                for a term with a schedule.
            UnknownNameError: if a feature is missing.
        """
        values = {}
        for term in self.active:
            with _naming_term(term.name):
                weight = term.weight * term.factor(self._epoch)
                if weight == 0:
                    values[term.name] = torch.zeros((), device=student_logits.device)
                    continue
                student = _pick("features of the student", term.student_layer, student_logits, student_features)
                given = student
                teacher = _pick("features of the teacher", term.teacher_layer, teacher_logits, teacher_features)
                teachers = [teacher] if isinstance(teacher, Tensor) else list(teacher)
                if labelled is not None and needs_labels(term.loss):
                    student = student[:labelled]
                    teachers = [one[:labelled] for one in teachers]
                value = self._against_each(term, student, teachers, labels)
                scale = self._scale(term.name, value, task, given)
            values[term.name] = weight * value if scale is None else scale * (weight * value)
        return values

    def _scale(self, name: str, value: Tensor, task: Tensor | None, student: Tensor) -> Tensor | None:
        if self.balancing is None:
            return None
        if task is None:
            raise InputError(
                "the terms are balanced against the task loss, which is missing",
                remedy="give the criterion task, or set balance to null",
            )
        scale: Tensor = self.balancing(name, value, task, student)
        return scale

    def _against_each(
        self, term: DistillationTerm, student: Tensor, teachers: Sequence[Tensor], labels: Tensor | None
    ) -> Tensor:
        """Return the loss, averaged over the maps of several teachers."""
        values = [self._compare(term, student, teacher.detach(), labels) for teacher in teachers]
        return values[0] if len(values) == 1 else torch.stack(values).mean()

    def _compare(self, term: DistillationTerm, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        loss = self.losses[term.name]
        adapter = self._adapter(term)
        value = None if adapter is None else _with_weight(term, loss, adapter, student, teacher)
        if value is None:
            adapted = student if adapter is None else adapter(student)
            maps = _of_one_size(term, adapted, teacher)
            value = loss(*maps, required_labels(labels)) if needs_labels(loss) else loss(*maps)
        return _scalar(value)

    def _adapter(self, term: DistillationTerm) -> nn.Module | None:
        if term.name in self.adapters:
            return self.adapters[term.name]
        if term.adapter is not None:
            raise InputError("its adapter is not built yet: call build_adapters before the first step.")
        return None


def _read_terms(entries: object) -> list[DistillationTerm]:
    """Return the terms of positive weight, after a check of all."""
    names: set[str] = set()
    active = []
    for label, entry in _labelled_entries(entries):
        term = _read_term(entry, label)
        name = entry.name if isinstance(entry, DistillationTerm) else entry["name"]
        if name in names:
            raise InputError(f"two terms are called {name!r}: give each a name of its own.")
        names.add(name)
        if term is not None:
            active.append(term)
    return active


def _labelled_entries(entries: object) -> list[tuple[str, Any]]:
    """Return the entries of a list, or of a mapping from names, with what messages call them."""
    if isinstance(entries, Mapping):
        return [(repr(name), _named_entry(name, entry)) for name, entry in entries.items() if entry is not None]
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise InputError(f"terms must be a list, or a mapping from their names, got {type(entries).__name__}.")
    return [(str(position), entry) for position, entry in enumerate(entries)]


def _with_weight(
    term: DistillationTerm, loss: nn.Module, adapter: nn.Module, student: Tensor, teacher: Tensor
) -> Tensor | None:
    """Return the loss without the adapted map, ``None`` where loss or adapter do not offer that."""
    compute = adapter_path(loss)
    if compute is None:
        return None
    weight = plain_weight(adapter)
    if weight is None:
        return None
    # A mean over pixels and a matrix product of channels may change places: pooling comes first here.
    return compute(*_of_one_size(term, student, teacher), weight)


def _of_one_size(term: DistillationTerm, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both maps, where the term asks for it each pooled to the smaller size along each axis."""
    if not term.resize:
        return student, teacher
    if student.dim() != teacher.dim() or student.dim() not in (4, 5):
        raise InputError(
            f"only maps of one number of dimensions can be resized: student {list(student.shape)}, "
            f"teacher {list(teacher.shape)}."
        )
    size = tuple(min(s, t) for s, t in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return _pooled(student, size), _pooled(teacher, size)


def _pooled(value: Tensor, size: tuple[int, ...]) -> Tensor:
    if value.shape[2:] == size:
        return value
    pool: Callable[..., Tensor] = F.adaptive_avg_pool2d if len(size) == 2 else F.adaptive_avg_pool3d
    return pool(value, size)


def _scalar(value: object) -> Tensor:
    """Return what a loss has returned, if it is one number."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise InputError(f"the loss must return a scalar, got {got}: use a reducing loss.")


def _pick(what: str, layer: str | None, logits: Tensor, features: Mapping[str, T]) -> Tensor | T:
    return logits if layer is None else _look_up(what, layer, features)


def _look_up(what: str, layer: str, known: Mapping[str, T]) -> T:
    if layer in known:
        return known[layer]
    remedy = "" if layer else "'' is the network itself, its logits"
    raise unknown_name("layer", layer, known, where=f"among the {what}", remedy=remedy)
