# SPDX-License-Identifier: Apache-2.0
"""What is needed to compute a NaN again, in one small file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from akd_monai.errors import InputError, NonFiniteError, one_line
from akd_monai.files import save_atomic
from akd_monai.handlers._describe import weights_digest
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers.randomness import KeyedRandomness
from akd_monai.networks import unwrap

__all__ = ["check_finite_weights", "save_reproduction"]

_FILENAME = "nonfinite.pt"
# a larger tensor is described instead
_MOST_BYTES = 100_000_000


def save_reproduction(engine: Engine, folder: Path | None, values: Mapping[str, float]) -> str:
    """Save the batch of the current iteration with what was computed of it, and return where in words.

    The file replaces that of an earlier stop. It holds no path, and the weights by their hash alone: they are those
    that the run has after the iterations before, which resuming it computes again.

    Args:
        engine: the trainer.
        folder: where ``nonfinite.pt`` is saved; None for nowhere.
        values: what is NaN or infinite, by name, and what is not.
    """
    if folder is None:
        return ""
    path = folder / _FILENAME
    try:
        save_atomic(_content(engine, values), path)
    except (OSError, InputError, RuntimeError) as error:
        return f"; the batch could not be saved ({one_line(error)})"
    return f"; the batch is saved in {path}"


def check_finite_weights(engine: Engine, folder: Path) -> None:
    """Raise ``NonFiniteError`` if a weight of the network of ``engine`` is NaN or infinite, and save a reproduction."""
    parameters = unwrap(engine.network).named_parameters()  # type: ignore[attr-defined]
    broken = {name: float(value.detach().sum()) for name, value in parameters if not torch.isfinite(value).all()}
    if not broken:
        return
    where = save_reproduction(engine, folder, broken)
    raise NonFiniteError(
        f"weights are NaN or infinite after iteration {engine.state.iteration} ({', '.join(list(broken)[:3])}): nothing "
        f"was saved, and the checkpoint before is intact; lower the learning rate or check the data{where}."
    )


def _content(engine: Engine, values: Mapping[str, float]) -> dict[str, Any]:
    handlers = attached_handlers(engine)
    seeds = [handler.seed for handler in handlers if isinstance(handler, KeyedRandomness)]
    content = {
        "epoch": engine.state.epoch,
        "iteration": engine.state.iteration,
        "values": dict(values),
        "batch": _plain(engine.state.batch),
        "seed": seeds[0] if seeds else None,
    }
    network = getattr(engine, "network", None)
    if network is not None:
        network = unwrap(network)
        content["network"] = type(network).__qualname__
        content["weights_sha256"] = weights_digest(network)
    return content


def _plain(value: Any) -> Any:
    """Return tensors, numbers, strings that are no paths, and what is made of them; of anything else its class."""
    if isinstance(value, torch.Tensor):
        plain = torch.as_tensor(value.detach()).cpu().clone()
        is_small = plain.numel() * plain.element_size() <= _MOST_BYTES
        return plain.as_subclass(torch.Tensor) if is_small else f"{plain.dtype} {list(plain.shape)}"
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, str) and not os.path.isabs(value):
        return value
    return type(value).__name__
