# SPDX-License-Identifier: Apache-2.0
"""What tells one training from another in a table of runs, read from its trainer: short names, one value each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from monai.data import CacheDataset, PersistentDataset
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.data._prepared_volumes import StoredVolumes
from akd_monai.files import sha256_of
from akd_monai.handlers._describe import describe
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers.initial_weights import InitialWeights
from akd_monai.networks import unwrap
from akd_monai.networks._origin import origin_of
from akd_monai.teachers import CachedTeacher, CombinedTeacher, EmaTeacher, TeacherEnsemble

__all__ = ["training_params"]

_LOGITS = "logits"
_ONLINE = "none"
# the loss and its layers have params of their own
_APART = ("name", "loss", "weight", "student_layer", "teacher_layer")
_TEACHER_TERMS = ("distillation", "teacher")


def training_params(trainer: Any, plain_role: str = "alone") -> dict[str, Any]:
    """Return params of a training; of an engine that trains no network none.

    Args:
        trainer: before its first step.
        plain_role: role of a training without distillation.
    """
    if not isinstance(trainer, SupervisedTrainer):
        return {}
    is_distilled = _is_distilled(trainer)
    params = {
        "role": "distilled" if is_distilled else plain_role,
        "network": type(unwrap(trainer.network)).__qualname__,
        "learning_rate": trainer.optimizer.defaults.get("lr"),
        "batch_size": getattr(trainer.data_loader, "batch_size", None),
        "device": torch.device(trainer.state.device).type,
        "amp": bool(trainer.amp),
        "data_cache": _data_cache(getattr(trainer.data_loader, "dataset", None)),
        **_initial(trainer),
        **(_distillation(trainer) if is_distilled else {}),
    }
    return {name: value for name, value in params.items() if value is not None}


def _is_distilled(trainer: Any) -> bool:
    if not all(hasattr(trainer, name) for name in _TEACHER_TERMS):
        return False
    return bool(trainer.distillation.active) or trainer.unlabelled is not None


def _distillation(trainer: Any) -> dict[str, Any]:
    terms = trainer.distillation.active
    params = {**_teacher(trainer), "terms": ", ".join(term.name for term in terms)}
    for term in terms:
        params[f"lambda_{term.name}"] = term.weight
        params[f"{term.name}_layers"] = _layers(term.student_layer, term.teacher_layer)
        params[f"{term.name}_options"] = _options(term)
    if getattr(trainer.distillation, "balance", None) is not None:
        params["balance"] = trainer.distillation.balance
    if getattr(trainer, "teacher_norm", None) is not None:
        params["teacher_norm"] = _shown(describe(trainer.teacher_norm.facts()))
    if trainer.unlabelled is not None:
        params.update({f"unlabelled_{name}": value for name, value in describe(trainer.unlabelled.facts()).items()})
    return params


def _teacher(trainer: Any) -> dict[str, Any]:
    """Return which networks teach, in the order in which they are combined."""
    teacher = trainer.teacher
    params = {"teacher_cache": _teacher_cache(trainer.teacher_source)}
    if isinstance(teacher, EmaTeacher):
        return {"teacher": "self", "ema_decay": teacher.decay, **params}
    several = isinstance(teacher, TeacherEnsemble)
    networks: Sequence[nn.Module] = list(teacher) if several else [teacher]
    named = [origin_of(network) for network in networks]
    names = [type(n).__qualname__ if o is None else o.bundle for n, o in zip(networks, named, strict=True)]
    hashes = ["unknown" if origin is None else sha256_of(origin.weights) for origin in named]
    if several:
        params["teacher_vote"] = teacher.vote
    return {"teacher": ", ".join(names), "teacher_sha256": ", ".join(hashes), **params}


def _teacher_cache(source: Any) -> str:
    members = source.members if isinstance(source, CombinedTeacher) else [source]
    kinds = [f"files, {one.cache.dtype}" if isinstance(one, CachedTeacher) else _ONLINE for one in members]
    return "; ".join(dict.fromkeys(kinds))


def _layers(student: str | None, teacher: str | None) -> str:
    """Return which features are compared.

    Example:
        >>> _layers("stage3", "node_3_0"), _layers("stage3", None), _layers(None, None)
        ('stage3 <- node_3_0', 'stage3 <- logits', 'logits')
    """
    compared = list(dict.fromkeys(layer or _LOGITS for layer in (student, teacher)))
    return " <- ".join(compared) if student or teacher else _LOGITS


def _options(term: Any) -> str:
    """Return the loss of a term with its options, and what else it is told."""
    settings = describe(term.loss)
    name = settings.pop("class")
    for key, value in vars(term).items():
        if key not in _APART:
            settings[key] = _changed_fields(value) if is_dataclass(value) else describe(value)
    told = [f"{key}={_shown(value)}" for key, value in settings.items() if value is not None and value is not False]
    return ", ".join([name, *told])


def _changed_fields(value: Any) -> dict[str, Any]:
    """Return what a dataclass holds in place of its defaults."""
    held = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
    return {name: given for name, (given, default) in held.items() if given != default}


def _shown(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    inside = " ".join(f"{key}={item}" for key, item in value.items() if key != "class")
    return f"({inside})" if inside else str(value.get("class", ""))


def _data_cache(dataset: Any) -> str:
    """Return where prepared images are kept: files, memory or none."""
    # a data set of slices keeps its volumes in one of MONAI's
    kept = getattr(dataset, "_volumes", dataset)
    if isinstance(kept, (PersistentDataset, StoredVolumes)):
        return "files"
    return "memory" if isinstance(kept, CacheDataset) and kept.cache_num else "none"


def _initial(trainer: SupervisedTrainer) -> dict[str, str]:
    found = [handler.sha256() for handler in attached_handlers(trainer) if isinstance(handler, InitialWeights)]
    return {"initial_sha256": str(found[-1])} if found else {}
