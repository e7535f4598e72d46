# SPDX-License-Identifier: Apache-2.0
"""A distillation criterion: a list of named, weighted terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from akd_monai.errors import InputError, near_matches
from akd_monai.keys import random_key
from akd_monai.losses.gram import GramKernelLoss
from akd_monai.losses.terms import CONV1X1, DistillationTerm, conv1x1, naming_term, read_term

T = TypeVar("T")


class DistillationCriterion(nn.Module):
    """Compute named distillation terms from the logits and features of a student and its teacher.

    Terms of weight 0 are checked, but neither built nor computed. Without an active term the criterion returns ``{}``.

    Args:
        terms: :class:`DistillationTerm` objects or mappings with the same keys, as a config gives them. There ``loss``
            may be a name of the registry, with the arguments of its class under ``options``.

    Attributes:
        active: the terms of positive weight, in the given order.
        student_layers: module paths of the features needed from the student, sorted, each once.
        teacher_layers: the same for the teacher.
        adapters: the modules applied to the student's maps, by name of the term. They train with the student.
        losses: the loss modules, by name of the term.

    Raises:
        InputError: if names repeat, or a key or value of a term is wrong.
        UnknownNameError: if a loss is unknown.

    Example:
        >>> import torch
        >>> criterion = DistillationCriterion(
        ...     [{"name": "soft", "loss": "logits", "weight": 0.5}, {"name": "off", "loss": "gram", "weight": 0}]
        ... )
        >>> student, teacher = torch.zeros(1, 2, 2, 2), torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
        >>> {name: round(value.item(), 4) for name, value in criterion(student, teacher, {}, {}).items()}
        {'soft': 0.2169}

    Source: arXiv:2404.02738, section 2, equation 8.
    """

    def __init__(self, terms: Sequence[DistillationTerm | Mapping[str, object]]) -> None:
        super().__init__()
        if isinstance(terms, (str, Mapping)) or not isinstance(terms, Sequence):
            raise InputError(f"terms must be a list, got {type(terms).__name__}.")
        names: set[str] = set()
        self.active: list[DistillationTerm] = []
        for position, entry in enumerate(terms):
            term = read_term(entry, position)
            name = entry.name if isinstance(entry, DistillationTerm) else str(entry["name"])
            if name in names:
                raise InputError(f"two terms are called {name!r}: give each a name of its own.")
            names.add(name)
            if term is not None:
                self.active.append(term)
        self.student_layers = sorted({t.student_layer for t in self.active if t.student_layer is not None})
        self.teacher_layers = sorted({t.teacher_layer for t in self.active if t.teacher_layer is not None})
        self.losses = nn.ModuleDict({t.name: t.loss for t in self.active})
        self.adapters = nn.ModuleDict({t.name: t.adapter for t in self.active if isinstance(t.adapter, nn.Module)})

    def build_adapters(
        self, student_channels: Mapping[str, int], teacher_channels: Mapping[str, int], spatial_dims: int, seed: int
    ) -> None:
        """Make the ``"conv1x1"`` adapters, before the optimiser is made and a checkpoint is loaded.

        Weights are a function of ``seed`` and the term's name alone; the global random state is not used. Calling it
        again starts the adapters anew.

        Args:
            student_channels: channels of the student's map by module path; ``""`` is the network itself, its logits.
            teacher_channels: the same for the teacher.
            spatial_dims: 2 or 3.
            seed: seed of the run.

        Raises:
            InputError: if a layer's channels are missing or ``spatial_dims`` is neither 2 nor 3.
        """
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims must be 2 or 3, got {spatial_dims!r}.")
        for term in self.active:
            if term.adapter == CONV1X1:
                n_in = _look_up(term.name, "student", term.student_layer or "", student_channels, "channels")
                n_out = _look_up(term.name, "teacher", term.teacher_layer or "", teacher_channels, "channels")
                key = random_key(seed, "adapter", term.name)
                self.adapters[term.name] = conv1x1(spatial_dims, n_in, n_out, key)

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        student_features: Mapping[str, Tensor],
        teacher_features: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return ``{name: weight * loss}`` of the active terms, scalars to be added to the segmentation loss.

        Args:
            student_logits: ``[B, K, *spatial]``.
            teacher_logits: ``[B, K, *spatial]`` on the same images. No gradient reaches the teacher's tensors.
            student_features: maps by module path; at least :attr:`student_layers`.
            teacher_features: maps by module path; at least :attr:`teacher_layers`.

        Raises:
            InputError: if a feature is missing, adapters were not built, or a loss refuses its maps; the message names
                the term.
        """
        values = {}
        for term in self.active:
            student = _pick(term.name, "student", term.student_layer, student_logits, student_features)
            teacher = _pick(term.name, "teacher", term.teacher_layer, teacher_logits, teacher_features).detach()
            values[term.name] = term.weight * self._compare(term, student, teacher)
        return values

    def _compare(self, term: DistillationTerm, student: Tensor, teacher: Tensor) -> Tensor:
        loss, weight = self.losses[term.name], None
        if term.name in self.adapters:
            weight = fused_weight(loss, self.adapters[term.name])
            if weight is None:
                student = self.adapters[term.name](student)
        elif term.adapter is not None:
            raise InputError(f"term {term.name!r} has no adapter yet: call build_adapters before the first step.")
        with naming_term(term.name):
            if term.resize:
                # A fused 1x1 convolution comes after the pooling, which is the same.
                student, teacher = pool_to_smaller(student, teacher)
            value = loss(student, teacher) if weight is None else loss(student, teacher, weight)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"term {term.name!r}: the loss must return a scalar, got {got}: use a reducing loss.")
        return value.reshape(())


def fused_weight(loss: nn.Module, adapter: nn.Module) -> Tensor | None:
    """Return the weights ``[K, C]`` of an adapter that a loss computes with itself, sooner than the adapter would.

    That is a Gram matrix of samples behind a plain 1x1 convolution to more channels, without hooks, bias or stride.
    """
    if type(loss) is not GramKernelLoss or loss.mode != "batch":
        return None
    # A derived class, such as a parametrized one, may compute anything.
    if not isinstance(adapter, (nn.Conv2d, nn.Conv3d)) or type(adapter) not in (nn.Conv2d, nn.Conv3d):
        return None
    plain = adapter.bias is None and adapter.groups == 1 and adapter.out_channels > adapter.in_channels
    single = all(set(n) == {1} for n in (adapter.kernel_size, adapter.stride)) and set(adapter.padding) == {0}
    hooks = (adapter._forward_hooks, adapter._forward_pre_hooks, adapter._backward_hooks, adapter._backward_pre_hooks)
    return adapter.weight.flatten(1) if plain and single and not any(hooks) else None


def pool_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two maps ``[B, C, *spatial]`` to one size, along each axis the smaller, by adaptive average pooling.

    Example:
        >>> import torch
        >>> small, large = pool_to_smaller(torch.zeros(1, 2, 3, 3), torch.ones(1, 5, 6, 6))
        >>> list(large.shape), large.mean().item()
        ([1, 5, 3, 3], 1.0)
    """
    if student.dim() != teacher.dim() or student.dim() not in (4, 5):
        raise InputError(
            f"only maps of one number of dimensions can be resized: student {list(student.shape)}, "
            f"teacher {list(teacher.shape)}."
        )
    size = tuple(min(s, t) for s, t in zip(student.shape[2:], teacher.shape[2:], strict=True))
    pool: Callable[..., Tensor] = F.adaptive_avg_pool2d if len(size) == 2 else F.adaptive_avg_pool3d
    shrunk = (x if x.shape[2:] == size else pool(x, size) for x in (student, teacher))
    return next(shrunk), next(shrunk)


def _pick(name: str, who: str, layer: str | None, logits: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    return logits if layer is None else _look_up(name, who, layer, features, "features")


def _look_up(name: str, who: str, layer: str, known: Mapping[str, T], what: str) -> T:
    if layer not in known:
        listed = ", ".join(map(repr, known)) or "none"
        where = repr(layer) if layer else "'' (the logits)"
        raise InputError(
            f"term {name!r} needs the {what} of the {who}'s layer {where}; given: {listed}.{near_matches(layer, known)}"
        )
    return known[layer]
