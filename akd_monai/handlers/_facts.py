# SPDX-License-Identifier: Apache-2.0
"""What determines the result of a training, read from the trainer itself."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import monai
import torch
from ignite.handlers.param_scheduler import BaseParamScheduler
from ignite.metrics import Metric
from monai.engines import Evaluator, SupervisedTrainer
from torch import nn

from akd_monai.handlers._data_facts import DataFacts
from akd_monai.handlers._describe import describe, weights_digest
from akd_monai.handlers._events import attached_handlers, validators_of
from akd_monai.handlers.best_model import SaveBestModel
from akd_monai.handlers.initial_weights import InitialWeights
from akd_monai.handlers.randomness import KeyedRandomness
from akd_monai.networks import unwrap
from akd_monai.teachers import EmaTeacher, TeacherEnsemble

__all__ = ["facts_of", "place_of", "postprocessing_of", "teacher_of", "terms_of"]

_TRAINED = ("params", "lr")
_PLAIN = (bool, int, float, str, type(None))


def facts_of(engine: SupervisedTrainer, schedulers: Sequence[Any]) -> dict[str, Any]:
    """Return everything that determines the result of a training, as plain values.

    Loss and its options, terms, optimizer, schedules, network, teacher, data by content, transforms, sampler, batches,
    precision, accumulation, randomness, and how it is validated. Left out, because a resumed run may have others: the
    number of epochs, worker processes, device, caches, and every path.

    Args:
        engine: the trainer, before its first step.
        schedulers: the schedules that are saved with it.
    """
    data = DataFacts()
    others = [h for h in attached_handlers(engine) if isinstance(h, BaseParamScheduler)]
    return {
        "loss": describe(getattr(engine, "_task_loss", engine.loss_function)),
        "terms": terms_of(getattr(engine, "distillation", None)),
        "teacher": teacher_of(engine),
        "optimizer": _optimizer(engine.optimizer),
        "schedules": describe([*schedulers, *others]),
        "network": _network(unwrap(engine.network)),
        "train": _loader(engine.data_loader, data),
        "trainer": _trainer(engine),
        "validation": describe([_validation(validator, data) for validator in validators_of(engine)]),
        **_unlabelled(engine, data),
        **_balance(engine),
    }


def place_of(engine: SupervisedTrainer) -> dict[str, Any]:
    """Return where and by what a run is computed, which a resumed run may change; the versions are then said."""
    return {
        "device": torch.device(engine.state.device).type,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "monai": monai.__version__},
    }


def terms_of(distillation: Any) -> Any:
    """Return the terms of a distillation that are on, with all their options; of another object what it is."""
    terms = getattr(distillation, "active", None)
    if terms is None:
        return describe(distillation)
    named = {}
    for term in terms:
        settings = dict(vars(term))
        # only where there is one, so that a run of an earlier version is the same run
        if settings.get("schedule") is None:
            settings.pop("schedule", None)
        named[str(settings.pop("name"))] = describe(settings)
    return named


def teacher_of(engine: SupervisedTrainer) -> Any:
    """Return what the teacher of a distillation is, by the content of its weights; ``None`` without one."""
    teacher = getattr(engine, "teacher", None)
    if not isinstance(teacher, nn.Module):
        return None
    source = getattr(engine, "teacher_source", None)
    # only where it is not the default, so that a run of an earlier version is the same run
    norm = getattr(engine, "teacher_norm", None)
    adapted = {} if norm is None else {"batch_norm": norm.facts()}
    if isinstance(teacher, EmaTeacher):
        about = _teacher({"class": type(teacher).__qualname__, "decay": teacher.decay}, source)
    elif isinstance(teacher, TeacherEnsemble):
        members = getattr(source, "members", [None] * len(teacher))
        named = {}
        for number, (network, member) in enumerate(zip(teacher, members, strict=True), start=1):
            named[str(number)] = _network_teacher(network, member)
        about = {"class": type(teacher).__qualname__, "vote": teacher.vote, "members": named}
    else:
        about = _network_teacher(teacher, source)
    return {**about, **adapted}


def _network_teacher(network: nn.Module, source: Any) -> dict[str, Any]:
    return _teacher({"class": type(network).__qualname__, "weights": weights_digest(network)}, source)


def _teacher(about: Mapping[str, Any], source: Any) -> dict[str, Any]:
    """Return facts of one teacher with those of its source: what is taken of its output, and how it is computed."""
    online = getattr(source, "teacher", source)
    options = getattr(online, "options", None)
    names = ("dtype", "channels_last", "compile")
    output = getattr(online, "output", None)
    chosen = {"output": output.facts()} if output is not None and output.facts() else {}
    return {**chosen, **about, "options": describe({name: getattr(options, name, None) for name in names})}


def _optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    groups = []
    for group in optimizer.param_groups:
        settings = {name: value for name, value in group.items() if name not in _TRAINED}
        settings.setdefault("initial_lr", group.get("lr"))
        groups.append(describe({**settings, "parameters": len(group["params"])}))
    shared = {name: value for name, value in groups[0].items() if all(group.get(name) == value for group in groups)}
    own = [{name: value for name, value in group.items() if name not in shared} for group in groups]
    facts = {"class": type(optimizer).__qualname__, "lr": describe(optimizer.defaults.get("lr")), **shared}
    if any(own):
        facts["groups"] = {str(number): group for number, group in enumerate(own)}
    return facts


def _network(network: nn.Module) -> dict[str, Any]:
    modules = {}
    for name, module in network.named_modules():
        settings = {}
        for attribute, value in vars(module).items():
            parts = value if isinstance(value, (list, tuple)) else (value,)
            is_setting = not attribute.startswith("_") and attribute not in ("training", "device")
            if is_setting and all(isinstance(part, _PLAIN) for part in parts):
                settings[attribute] = describe(value)
        modules[name or "itself"] = {"class": type(module).__qualname__, **settings}
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    return {**modules, "frozen": frozen}


def _loader(loader: Any, data: DataFacts) -> Any:
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        return {"data": data.of(loader) if isinstance(loader, (list, tuple)) else type(loader).__qualname__}
    return {
        "dataset": data.of(dataset),
        "sampler": data.of(getattr(loader, "sampler", None)),
        "batch_sampler": data.of(loader.batch_sampler) if getattr(loader, "batch_size", 1) is None else None,
        "batch_size": getattr(loader, "batch_size", None),
        "drop_last": getattr(loader, "drop_last", None),
        "collate": describe(getattr(loader, "collate_fn", None)),
    }


def _unlabelled(engine: SupervisedTrainer, data: DataFacts) -> dict[str, Any]:
    """Return what is learnt on images without labels; nothing where none are, as an earlier version has it."""
    unlabelled = getattr(engine, "unlabelled", None)
    if unlabelled is None:
        return {}
    images = None if unlabelled.dataset is None else data.of(unlabelled.dataset)
    return {"unlabelled": {**unlabelled.facts(), "images": images}}


def _balance(engine: SupervisedTrainer) -> dict[str, Any]:
    """Return how terms are balanced; nothing where they are not, as an earlier version has it."""
    balance = getattr(getattr(engine, "distillation", None), "balance", None)
    return {} if balance is None else {"balance": describe(balance)}


def _trainer(engine: SupervisedTrainer) -> dict[str, Any]:
    handlers = attached_handlers(engine)
    seeds = [handler.seed for handler in handlers if isinstance(handler, KeyedRandomness)]
    head = getattr(engine, "student_head", None)
    initial = [handler.sha256() for handler in handlers if isinstance(handler, InitialWeights)]
    return {
        **({} if head is None else {"student_head": head}),
        # only where there are some, so that a run of an earlier version is the same run
        **({"initial_weights": initial[-1]} if initial else {}),
        "class": type(engine).__qualname__,
        "step": describe(engine._process_function),
        "prepare_batch": describe(engine.prepare_batch),
        "inferer": describe(getattr(engine, "inferer", None)),
        "amp": bool(engine.amp),
        "amp_options": describe(getattr(engine, "amp_kwargs", None) or {}),
        "accumulation_steps": getattr(engine, "accumulation_steps", 1),
        "processes": idist.get_world_size(),
        "seeds": describe(seeds),
    }


def _validation(validator: Evaluator, data: DataFacts) -> dict[str, Any]:
    handlers = attached_handlers(validator)
    return {
        **_loader(validator.data_loader, data),
        "class": type(validator).__qualname__,
        "inferer": describe(getattr(validator, "inferer", None)),
        "postprocessing": describe(postprocessing_of(handlers)),
        "metrics": describe([handler for handler in handlers if isinstance(handler, Metric)]),
        "key_metric": getattr(validator.state, "key_metric_name", None),
        "best_by": [handler.key_metric for handler in handlers if isinstance(handler, SaveBestModel)],
    }


def postprocessing_of(handlers: Sequence[Any]) -> list[Any]:
    """Return the transforms that an engine of MONAI applies to its output, given its handlers."""
    # MONAI keeps it nowhere but in the function that it attaches
    functions = [handler for handler in handlers if inspect.isfunction(handler)]
    closures = [inspect.getclosurevars(function).nonlocals for function in functions]
    return [variables["posttrans"] for variables in closures if "posttrans" in variables]
