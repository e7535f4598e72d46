# SPDX-License-Identifier: Apache-2.0
"""A file that says which cases, settings and weights a finished training or evaluation had."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator

import akd_monai
from akd_monai._home import map_strings, without_home
from akd_monai.errors import InputError
from akd_monai.files import as_path, write_json
from akd_monai.handlers._events import is_first_rank, run_late
from akd_monai.handlers._record_facts import data_facts, loaded_weights, training_facts, validation_facts
from akd_monai.networks.profile.machine import machine_facts

__all__ = ["RunRecord"]

logger = logging.getLogger(__name__)


class RunRecord:
    """Write ``training.json`` when a training is complete, or ``evaluation.json`` when an evaluation is.

    What can be read from the engine is read from there, not from a config: the cases are those of its data set, their
    sites and a fingerprint of their files (:func:`akd_monai.data.fingerprint`) follow from them, the learning rate is the
    optimizer's, weights are named by the SHA-256 of their file.

    ``training.json`` holds ``cases``, ``case_ids``, ``sites``, ``validation_cases``, ``validation_case_ids``, ``epochs``
    and ``iterations`` that were trained, ``batch_size``, ``processes``, ``learning_rate``, ``optimizer``, ``network``,
    ``network_parameters``, ``amp``, ``initial_weights_sha256``, ``lambdas`` (weights of the terms that are on),
    ``terms`` with all their options and ``teacher`` (``None`` without distillation), ``weights_sha256``, ``best_epoch`` and
    ``best_metric`` of the weights that :class:`SaveBestModel` has left, and ``device``; where images without labels were
    used, also ``unlabelled``, ``unlabelled_cases`` and ``unlabelled_case_ids``. ``evaluation.json`` holds ``cases``,
    ``case_ids``, ``sites``, ``weights_sha256`` and ``device``. Both end with ``version`` and ``machine``, and hold
    ``facts``. What is not known is ``None``.

    The file is written by the first process. A run that is stopped leaves none, and when it is resumed it writes the file
    that it would have written without the stop; a file of an earlier run is deleted before the first step. No home folder
    and no name of a user is written.

    Args:
        output_dir: folder of the file.
        facts: what the engine does not know, such as seed and fold, as JSON values.

    Attributes:
        data: facts of the cases, once the run has started.

    Raises:
        InputError: for facts without a JSON form; when the run starts, for one that is read from the engine; at its end,
            if the folder cannot be written to.

    Example:
        >>> import tempfile, torch
        >>> from monai.engines import SupervisedTrainer
        >>> net = torch.nn.Linear(1, 1)
        >>> folder = tempfile.TemporaryDirectory()
        >>> trainer = SupervisedTrainer(
        ...     device="cpu", max_epochs=2, train_data_loader=[{"image": torch.ones(1, 1), "label": torch.ones(1, 1)}],
        ...     network=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.5), loss_function=torch.nn.MSELoss(),
        ...     train_handlers=[RunRecord(folder.name, {"seed": 7})])
        >>> trainer.run()
        >>> record = json.loads((Path(folder.name) / "training.json").read_text())
        >>> record["epochs"], record["learning_rate"], record["seed"]
        (2, 0.5, 7)
        >>> folder.cleanup()
    """

    def __init__(self, output_dir: str | Path, facts: Mapping[str, Any] | None = None) -> None:
        self.output_dir = as_path(output_dir, "output_dir")
        self.facts = _plain(facts or {})
        self.data: dict[str, Any] = {}
        self._evaluated = False

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer or an evaluator on its own; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        # what is loaded or resumed at the start comes first, and so does what is saved at the end
        run_late(engine, Events.STARTED, self._started)

    def _started(self, engine: Any) -> None:
        run_late(engine, Events.EPOCH_STARTED, self._begin)
        run_late(engine, Events.EPOCH_COMPLETED, self._epoch_completed)
        run_late(engine, Events.COMPLETED, self._write)
        if not is_first_rank(engine):
            return
        self._evaluated = False
        self.data = data_facts(engine.data_loader)
        if isinstance(engine, Evaluator):
            self.data["weights_sha256"] = loaded_weights(engine)
        else:
            self.data.update(validation_facts(engine))
        # now, for no long run should end with this
        claimed = sorted(self.facts.keys() & self._from_engine(engine).keys())
        if claimed:
            raise InputError(f"facts of RunRecord hold {claimed[0]!r}, which is read from the engine; leave it out.")

    def _begin(self, engine: Engine) -> None:
        if is_first_rank(engine):
            # that of a run which ended before this one, or had fewer epochs
            self._path(engine).unlink(missing_ok=True)

    def _epoch_completed(self, _: Engine) -> None:
        self._evaluated = True

    def _write(self, engine: Any) -> None:
        is_partial = isinstance(engine, Evaluator) and not self._evaluated
        if not is_first_rank(engine) or is_partial:
            return
        content = map_strings({**self.facts, **self._from_engine(engine)}, without_home)
        logger.info("what the run was is in %s", write_json(self._path(engine), content))

    def _from_engine(self, engine: Any) -> dict[str, Any]:
        found = {} if isinstance(engine, Evaluator) else training_facts(engine)
        device = torch.device(engine.state.device).type
        return {**self.data, **found, "device": device, "version": akd_monai.__version__, "machine": machine_facts()}

    def _path(self, engine: Engine) -> Path:
        return self.output_dir / ("evaluation.json" if isinstance(engine, Evaluator) else "training.json")


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(dict(facts), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise InputError(f"facts of RunRecord must be JSON values: {error}.") from error
