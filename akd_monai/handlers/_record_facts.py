# SPDX-License-Identifier: Apache-2.0
"""What a training or an evaluation says about itself, read from its engine."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed
from monai.engines import Evaluator, SupervisedTrainer
from monai.handlers import CheckpointLoader

from akd_monai.data.cases import fingerprint
from akd_monai.files import sha256_of
from akd_monai.handlers._events import attached_handlers, validators_of
from akd_monai.handlers._facts import teacher_of, terms_of
from akd_monai.handlers.best_model import SaveBestModel
from akd_monai.handlers.initial_weights import InitialWeights
from akd_monai.handlers.load_weights import LoadWeights
from akd_monai.names import case_name
from akd_monai.networks import unwrap

__all__ = ["cases_of", "data_facts", "loaded_weights", "training_facts", "validation_facts"]


def data_facts(loader: Any) -> dict[str, Any]:
    """Return which cases a loader reads: a fingerprint of their files, their names in order, and their sites.

    Without files, as for tensors in memory, the fingerprint is ``None``.

    Example:
        >>> data_facts([{"case_id": "HK/Case13", "site": "HK", "image": "no-such-file.nii.gz"}])["case_ids"]
        ['HK/Case13']
    """
    cases = cases_of(loader)
    names = [case_name(case, f"case {number}") for number, case in enumerate(cases)]
    sites = [str(case["site"]) for case in cases if "site" in case]
    return {
        "cases": fingerprint(cases) if cases and all(map(_has_files, cases)) else None,
        "case_ids": names,
        "sites": list(dict.fromkeys(sites)),
    }


def validation_facts(trainer: SupervisedTrainer) -> dict[str, Any]:
    """Return the cases by which the weights of a training are chosen."""
    cases: list[Any] = []
    for validator in validators_of(trainer):
        cases += cases_of(validator.data_loader)
    facts = data_facts(cases)
    return {"validation_cases": facts["cases"], "validation_case_ids": facts["case_ids"]}


def training_facts(trainer: SupervisedTrainer) -> dict[str, Any]:
    """Return how a training was done and what came of it, at its end."""
    initial = [handler.sha256() for handler in attached_handlers(trainer) if isinstance(handler, InitialWeights)]
    network = unwrap(trainer.network)
    return {
        "epochs": trainer.state.epoch,
        "iterations": trainer.state.iteration,
        "batch_size": getattr(trainer.data_loader, "batch_size", None),
        "processes": _processes(),
        # the rate that the optimizer was made with: a schedule changes that of its groups
        "learning_rate": trainer.optimizer.defaults.get("lr"),
        "optimizer": type(trainer.optimizer).__qualname__,
        "network": type(network).__qualname__,
        "network_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "amp": bool(trainer.amp),
        "initial_weights_sha256": initial[-1] if initial else None,
        "lambdas": _lambdas(trainer),
        "teacher": teacher_of(trainer),
        "terms": terms_of(getattr(trainer, "distillation", None)),
        **_unlabelled(trainer),
        **_best(trainer),
    }


def loaded_weights(evaluator: Evaluator) -> str | None:
    """Return the SHA-256 of the file that an evaluator loads when it starts, ``None`` if it loads none."""
    found: str | os.PathLike[str] | None = None
    for handler in attached_handlers(evaluator):
        if isinstance(handler, LoadWeights):
            found = handler.path
        elif isinstance(handler, CheckpointLoader):
            found = handler.load_path
    return sha256_of(found) if found is not None and os.path.isfile(found) else None


def _processes() -> int:
    # Ignite's own question would wait for the other processes, which do not ask
    is_one_of_several = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if is_one_of_several else 1


def _best(trainer: SupervisedTrainer) -> dict[str, Any]:
    """Return the weights that the training has left as its best, and since when."""
    saved: list[SaveBestModel] = []
    for validator in validators_of(trainer):
        saved += [handler for handler in attached_handlers(validator) if isinstance(handler, SaveBestModel)]
    if not saved or not saved[-1].sha256:
        return {"weights_sha256": None, "best_epoch": None, "best_metric": None}
    best = saved[-1]
    metric = best.metric if math.isfinite(best.metric) else None
    return {"weights_sha256": best.sha256, "best_epoch": best.epoch, "best_metric": metric}


def _lambdas(trainer: SupervisedTrainer) -> dict[str, float] | None:
    active = getattr(getattr(trainer, "distillation", None), "active", None)
    return None if active is None else {term.name: float(term.weight) for term in active}


def _unlabelled(trainer: SupervisedTrainer) -> dict[str, Any]:
    """Return what was learnt on images without labels, and on which; nothing where none were used."""
    unlabelled = getattr(trainer, "unlabelled", None)
    if unlabelled is None:
        return {}
    facts = data_facts(list(getattr(unlabelled.dataset, "data", ())))
    images = {"unlabelled_cases": facts["cases"], "unlabelled_case_ids": facts["case_ids"]}
    return {"unlabelled": unlabelled.facts(), **images}


def cases_of(loader: Any) -> Sequence[Mapping[str, Any]]:
    """Return the entries of the datalist that a loader reads, none where it has no list of them."""
    cases: Any = loader
    if not isinstance(loader, (list, tuple)):
        cases = getattr(getattr(loader, "dataset", None), "data", None)
    is_listed = isinstance(cases, Sequence) and not isinstance(cases, str)
    return cases if is_listed and all(isinstance(case, Mapping) for case in cases) else []


def _has_files(case: Mapping[str, Any]) -> bool:
    files = [case[key] for key in ("image", "label") if key in case]
    return "image" in case and all(isinstance(file, (str, os.PathLike)) for file in files)
