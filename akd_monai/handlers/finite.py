# SPDX-License-Identifier: Apache-2.0
"""Stop before a loss that is NaN or infinite reaches the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents

from akd_monai.errors import NonFiniteError
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers._metrics import loss_terms
from akd_monai.handlers._reproduction import save_reproduction
from akd_monai.handlers.checkpoint import ResumableCheckpoint
from akd_monai.names import case_names

__all__ = ["FiniteLoss"]


class FiniteLoss:
    """Stop a training before the backward pass as soon as a loss term is NaN or infinite.

    Ignite's ``TerminateOnNan`` acts after the optimizer's step; here the weights have not changed yet, and nothing is
    saved afterwards, so the last checkpoint is valid. The message names the terms, epoch, iteration and the cases of
    the batch, and the file ``nonfinite.pt`` in which batch, terms, position, seed and a hash of the weights are saved for
    a closer examination; it replaces that of an earlier stop.

    Args:
        output_dir: folder of the file; by default that of :class:`ResumableCheckpoint`, without which nothing is saved.

    Raises:
        NonFiniteError: during training, see above.

    Example:
        >>> from monai.engines import SupervisedTrainer
        >>> network = torch.nn.Conv2d(1, 1, 1)
        >>> image, label = torch.full((1, 1, 2, 2), float("nan")), torch.ones(1, 1, 2, 2)
        >>> batch = {"image": image, "label": label, "case_id": ["A7"]}
        >>> trainer = SupervisedTrainer(
        ...     device="cpu", max_epochs=1, train_data_loader=[batch], network=network,
        ...     optimizer=torch.optim.SGD(network.parameters(), lr=0.1), loss_function=torch.nn.MSELoss(),
        ...     train_handlers=[FiniteLoss()])
        >>> trainer.run()
        Traceback (most recent call last):
        ...
        akd_monai.errors.NonFiniteError: loss term task is nan in epoch 1, iteration 1, for cases A7: ...
    """

    def __init__(self, output_dir: str | Path | None = None) -> None:
        self.output_dir = None if output_dir is None else Path(output_dir)

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check)

    def _check(self, engine: Engine) -> None:
        terms = loss_terms(engine)
        # One question to the device for all terms, since each one waits for the device.
        if not terms or bool(torch.stack([value.float() for value in terms.values()]).isfinite().all()):
            return
        broken = [f"{name} is {float(value)}" for name, value in terms.items() if not torch.isfinite(value)]
        cases = ", ".join(case_names(engine.state.batch)) or "unknown"
        values = {name: float(value) for name, value in terms.items()}
        where = save_reproduction(engine, self.output_dir or _folder_of_run(engine), values)
        raise NonFiniteError(
            f"loss term {', '.join(broken)} in epoch {engine.state.epoch}, iteration {engine.state.iteration}, for "
            f"cases {cases}: the weights are unchanged; check these images and labels, or lower the learning rate{where}."
        )


def _folder_of_run(engine: Engine) -> Path | None:
    for handler in attached_handlers(engine):
        if isinstance(handler, ResumableCheckpoint):
            return handler.output_dir
    return None
