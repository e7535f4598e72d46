# SPDX-License-Identifier: Apache-2.0
"""A batch of labelled images with others joined to it, and what a student learns from the latter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.data import MetaTensor
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from akd_monai.data._image_sets import image_set
from akd_monai.data._image_stream import ImageStream
from akd_monai.data.identified import SLICE_INDEX, VIEW, VOLUME_KEY, IdentifiedSlices
from akd_monai.engines._pseudo_labels import confident_images, hard_labels, soft_loss
from akd_monai.engines.unlabelled import UnlabelledOptions
from akd_monai.errors import InputError
from akd_monai.keys import random_key
from akd_monai.losses import Activation, TeacherNeeds

__all__ = ["TERM", "SemiSupervised", "semi_supervised"]

logger = logging.getLogger(__name__)

TERM = "unlabelled"
# what tells a teacher cache which image is which
_IDENTITY = (VOLUME_KEY, SLICE_INDEX, VIEW, "case_id")


def semi_supervised(
    given: UnlabelledOptions | Mapping[str, Any] | None, loader: Any, distillation: Any
) -> SemiSupervised | None:
    """Return how images without labels take part, ``None`` if they do not.

    Args:
        given: options of the trainer.
        loader: of the labelled images.
        distillation: the criterion.

    Raises:
        InputError: if the options are wrong, nothing would be learnt, or a term needs labels that are not used.
    """
    options = UnlabelledOptions.read(given)
    if options.data and not options.batch_size:
        logger.warning("%d unlabelled images are given and not used: unlabelled_batch_size is 0.", len(options.data))
    if not options.is_active:
        return None
    found = SemiSupervised(options, loader)
    names = [term.name for term in distillation.active]
    if TERM in names:
        raise InputError(f"a term is called {TERM!r}, as the loss of images without labels: give it another name.")
    if not (found.uses_labels or found.is_taught or names):
        raise InputError(
            "nothing is learnt: lambda_task and lambda_unlabelled are 0, and no term has a weight",
            remedy="give one of them a weight above 0",
        )
    if not found.uses_labels and getattr(distillation, "needs_labels", False):
        raise InputError(
            "lambda_task is 0, so that no label is used, but a term needs labels",
            remedy="leave the term out, or give lambda_task a small weight",
        )
    return found


class SemiSupervised:
    """Join images to each batch, divide what the student returns, and compare it with the teacher's decision.

    Args:
        options: of the trainer.
        loader: of the labelled images, a ``DataLoader``.

    Attributes:
        options: as given.
        dataset: the images without labels, ``None`` if none are joined.

    Raises:
        InputError: if the images cannot be prepared as those of ``loader``.
    """

    def __init__(self, options: UnlabelledOptions, loader: Any) -> None:
        self.options = options
        self.dataset: Any = None
        self._stream: ImageStream | None = None
        self._batch: Any = None
        self._count = 0
        self._total = 0
        if options.batch_size:
            self._stream = _stream(options, loader)
            self.dataset = self._stream.dataset

    @property
    def uses_labels(self) -> bool:
        """Whether the labels of the labelled images are used."""
        return self.options.task_weight > 0

    @property
    def is_taught(self) -> bool:
        """Whether the teacher's decision or probabilities are learnt."""
        return self.options.weight > 0

    @property
    def teacher_needs(self) -> dict[str, TeacherNeeds]:
        """What is read of the teacher's logits, by the name of the loss."""
        if not self.is_taught:
            return {}
        is_decision = self.options.pseudo_labels == "hard" and self.options.confidence is None
        return {TERM: "labels" if is_decision else "differences"}

    @property
    def labelled(self) -> int:
        """How many images of the batch, the first ones, have labels."""
        return self._count

    def facts(self) -> dict[str, Any]:
        """Return what decides the result, but for the images."""
        options = self.options
        facts = {"batch_size": options.batch_size, "task_weight": options.task_weight, "weight": options.weight}
        return {**facts, "pseudo_labels": options.pseudo_labels, "confidence": options.confidence, "seed": options.seed}

    def identify(self) -> None:
        """Have the images say which slice they are, as a teacher cache needs it."""
        if isinstance(self.dataset, IdentifiedSlices):
            self.dataset.identify_slices()

    def close(self) -> None:
        """End the loading of images."""
        if self._stream is not None:
            self._stream.close()

    def joined(self, batch: Any, iteration: int) -> Any:
        """Return a batch with the images of this iteration after its own.

        Raises:
            InputError: if the batch is no mapping with a tensor of images, or the images differ in size.
        """
        own = batch.get(Keys.IMAGE) if isinstance(batch, Mapping) else None
        if not isinstance(own, Tensor):
            raise InputError(
                "images without labels need batches that are mappings with a tensor 'image', and the student's are not",
                remedy="set unlabelled_batch_size to 0 and lambda_task to 1",
            )
        self._batch = batch
        self._count = len(own)
        self._total = len(own)
        if self._stream is None:
            return batch
        other = self._stream.batch(iteration, idist.get_rank(), idist.get_world_size())
        self._total += len(other[Keys.IMAGE])
        result = dict(batch)
        for key in (Keys.IMAGE, *_IDENTITY):
            if key in batch and key in other:
                result[key] = _together(key, batch[key], other[key])
        return result

    def restore(self, state: Any) -> None:
        """Put the labelled batch, its images and its predictions back, for whatever reads them after the loss."""
        state.batch = self._batch
        self._batch = None
        if self._total > self._count:
            for key in (Keys.IMAGE, Keys.PRED):
                state.output[key] = self._part(state.output[key], 0, self._count)

    def task(self, loss: Callable[..., Any], prediction: Any, *label: Any, **options: Any) -> Any:
        """Return the weighted task loss of the labelled images, ``None`` if it has no weight.

        Raises:
            InputError: if no images were joined to this batch, because the student's step is not that of its trainer.
        """
        if self._batch is None:
            raise InputError(
                "images without labels are joined by engine._iteration, which the student's iteration_update does not call",
                remedy="leave iteration_update out, or set unlabelled_batch_size to 0 and lambda_task to 1",
            )
        if not self.uses_labels:
            return None
        value = loss(self._part(prediction, 0, self._count), *label, **options)
        return value if self.options.task_weight == 1 else self.options.task_weight * value

    def term(
        self,
        loss: Callable[..., Any],
        prediction: Any,
        logits: Tensor,
        teacher: Tensor,
        activation: Activation,
        label: Any,
    ) -> dict[str, Tensor]:
        """Return the weighted loss of the images without labels by its name.

        Args:
            loss: of the task.
            prediction: what the student returned.
            logits: of its head that is distilled.
            teacher: logits, of the same classes.
            activation: of both.
            label: labels of the labelled images, of which the form is read.
        """
        first = self._count if self.uses_labels else 0
        if not self.is_taught or first == self._total:
            return {}
        theirs = teacher[first:].detach()
        if self.options.pseudo_labels == "soft":
            value = soft_loss(logits[first:], theirs, activation, self.options.confidence)
        else:
            value = self._hard(loss, self._part(prediction, first, self._total), theirs, activation, label)
        return {TERM: self.options.weight * value}

    def _hard(
        self, loss: Callable[..., Any], prediction: Any, teacher: Tensor, activation: Activation, label: Any
    ) -> Tensor:
        decision = hard_labels(teacher, activation, label)
        threshold = self.options.confidence
        if threshold is None:
            return _mean(loss(prediction, decision))
        kept = confident_images(teacher, activation, threshold).nonzero().flatten()
        if not len(kept):
            return _nothing(prediction)
        chosen = _mapped(prediction, lambda value: value[kept.to(value.device)])
        return _mean(loss(chosen, decision[kept])) * (len(kept) / len(teacher))

    def _part(self, prediction: Any, start: int, stop: int) -> Any:
        if start == 0 and stop == self._total:
            return prediction
        return _mapped(prediction, lambda value: self._rows(value)[start:stop])

    def _rows(self, value: Tensor) -> Tensor:
        if value.dim() and len(value) == self._total:
            return value
        raise InputError(
            f"the student returns a tensor of shape {list(value.shape)} for {self._total} images, which cannot be divided "
            "into labelled and unlabelled ones",
            remedy="set unlabelled_batch_size to 0 and lambda_task to 1",
        )


def _stream(options: UnlabelledOptions, loader: Any) -> ImageStream:
    dataset = getattr(loader, "dataset", None)
    if dataset is None or not hasattr(loader, "collate_fn"):
        raise InputError(
            f"images without labels need a data loader of PyTorch or MONAI, and the student's is a {type(loader).__name__}"
        )
    seed = random_key(options.seed, TERM)
    images = image_set(dataset, options.data or (), seed=seed, transform=options.transform)
    return ImageStream(images, options.batch_size, seed, loader)


def _together(key: str, own: Any, other: Any) -> Any:
    if not isinstance(own, Tensor):
        return [*own, *other]
    if own.shape[1:] != other.shape[1:]:
        raise InputError(
            f"labelled and unlabelled {key}s differ in size, {list(own.shape[1:])} and {list(other.shape[1:])}, and cannot "
            "share a batch",
            remedy="bring them to one size by a fixed transform or a crop",
        )
    return torch.cat([_plain(own), _plain(other).to(own.dtype)])


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a prediction with every tensor in it changed: one, or those of several heads."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_mapped(part, change) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _mean(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(f"the student's loss returns a {type(value).__name__}, wanted a tensor.")
    return value.mean()


def _nothing(prediction: Any) -> Tensor:
    """Return 0 that has the gradient 0, so that a step with no confident image can be propagated."""
    parts: list[Tensor] = []

    def note(value: Tensor) -> Tensor:
        parts.append(value.flatten()[:0].sum().float())
        return value

    _mapped(prediction, note)
    return torch.stack(parts).sum()
