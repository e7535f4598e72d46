# SPDX-License-Identifier: Apache-2.0
"""Track runs in MLflow without letting a failing server stop the training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri

from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.handlers._events import is_first_rank, on_failure, run_late
from akd_monai.handlers._metrics import epoch_metrics
from akd_monai.handlers._mlflow_entries import as_params, as_tags, send_entry
from akd_monai.handlers._outage import Outage, limit_retries
from akd_monai.handlers._spool import Spool
from akd_monai.handlers.run_name import unique_run_name
from akd_monai.networks import unwrap

__all__ = ["MLflowTracker"]

_SPOOL = "mlflow_spool.jsonl"


class MLflowTracker(MLFlowHandler):
    """Track a run in MLflow: parameters, one batch of metrics an epoch, files, and the SHA-256 of the weights.

    Differs from :class:`monai.handlers.MLFlowHandler` in what a long run needs:

    * The run has a name of its own, kept in ``output_dir``: a resumed run continues in its MLflow run, whatever state
      it was left in, and no other run ever does. A finished run that is started again without training leaves no trace.
    * Metrics of training and of the validation of the same epoch are sent together, with the learning rate, once an
      epoch. Undefined values (NaN, infinite) are not sent, but named in the tag ``undefined``.
    * If MLflow cannot be reached, one warning says so, the training continues, and what was to be sent is kept in
      ``mlflow_spool.jsonl`` and sent as soon as MLflow answers again, at the latest when the run is resumed.
    * A run that fails ends as ``FAILED`` with the error as a tag, one that is stopped by a signal as ``KILLED``.

    An evaluation in the same ``output_dir`` gets a run of its own, with ``_evaluation`` after the name.

    Params: ``max_epochs``, ``epoch_length``, ``network_parameters`` and all of ``experiment_param``; a value that
    changed since the run began becomes the tag ``changed/<name>``, because MLflow does not change params.

    ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` and ``MLFLOW_HTTP_REQUEST_TIMEOUT`` are set to 1 and 5 where they are not set.

    The bundles of this project have a ``configs/tracking.json`` with this handler, for ``--tracking`` of MONAI's
    ``run``; MONAI adds it to any bundle.

    Args:
        output_dir: folder of the run, for its name and the spool.
        tracking_uri: an SQLite or server URI; by default ``mlruns.db`` in ``output_dir``. The environment variable
            ``MLFLOW_TRACKING_URI`` goes before it, as in MONAI.
        experiment_name: experiment of MLflow.
        run_name: unique name of the run; by default :func:`unique_run_name` of ``output_dir``.
        experiment_param: parameters, nested ones as ``outer/inner``.
        artifacts: files or folders that are logged when the run is completed, such as the executed config.
        model_path: weights whose SHA-256 becomes the tag ``checkpoint_sha256`` when the run is completed.
        tags: tags of the run, such as ``mlflow.parentRunId``.
        evaluator: whose metrics are added; by default those that a ``ValidationHandler`` of the trainer runs.

    Raises:
        InputError: for a file store as ``tracking_uri``, which MLflow no longer has, or a quote in ``run_name``.

    Example:
        >>> engine = Engine(lambda engine, batch: None)
        >>> tracker = MLflowTracker("eval", "sqlite:///mlruns.db", experiment_param={"lr": 0.01})
        >>> tracker.attach(engine)  # connects when the engine starts
    """

    def __init__(
        self,
        output_dir: str | Path,
        tracking_uri: str | None = None,
        *,
        experiment_name: str = "akd_monai",
        run_name: str | None = None,
        experiment_param: Mapping[str, Any] | None = None,
        artifacts: str | Sequence[str | Path] | None = None,
        model_path: str | Path | None = None,
        tags: Mapping[str, str] | None = None,
        evaluator: Evaluator | None = None,
    ) -> None:
        if run_name is not None and (not run_name or '"' in run_name):
            raise InputError(f"run_name must be a string without double quotes, got {run_name!r}.")
        uri = _checked_uri(tracking_uri or path_to_sqlite_uri(Path(output_dir) / "mlruns.db"))
        # MONAI's constructor connects, which takes seconds and may fail; a config is built for other reasons too.
        self._connect = partial(
            super().__init__,
            tracking_uri=uri,
            experiment_name=experiment_name,
            run_name=run_name,
            experiment_param=dict(experiment_param or {}),
            artifacts=artifacts,  # type: ignore[arg-type]  # MONAI takes strings in the list, too
        )
        self.output_dir = Path(output_dir)
        self.model_path = None if model_path is None else Path(model_path)
        self.run_name = run_name
        self.tags = dict(tags or {})
        self.experiment_param = dict(experiment_param or {})
        self.evaluators = None if evaluator is None else [evaluator]
        self.client: Any = None
        self.cur_run: Any = None
        self.experiment: Any = None
        self._outage = Outage(self.output_dir / _SPOOL)
        self._spool: Spool | None = None
        self._fresh = False
        self._done = False

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer or an evaluator on its own; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.COMPLETED, self._completed)
        on_failure(engine, self._failed)

    def start(self, engine: Engine) -> None:
        """Open the run and log its parameters."""
        run_late(engine, Events.EPOCH_COMPLETED, self.epoch_completed)
        if not is_first_rank(engine):
            return
        limit_retries()
        self._fresh = engine.state.iteration == 0
        self._done = _nothing_left(engine)
        if not self.run_name:
            # An evaluation writes to the same folder, but is no part of the training's run.
            suffix = "_evaluation" if isinstance(engine, Evaluator) else ""
            self.run_name = unique_run_name(self.output_dir) + suffix
        self._spool = Spool(self.output_dir / _SPOOL, self.run_name)
        self._record(params=self._params(engine), tags=self.tags)

    def epoch_completed(self, engine: Engine) -> None:
        """Send the metrics of the epoch."""
        metrics = epoch_metrics(engine, self.evaluators)
        defined = {name: value for name, value in metrics.items() if math.isfinite(value)}
        undefined = sorted(metrics.keys() - defined.keys())
        tags = {"undefined": f"{', '.join(undefined)} (epoch {engine.state.epoch})"} if undefined else {}
        self._record(metrics=defined, tags=tags, step=engine.state.epoch)

    def _completed(self, _: Engine) -> None:
        if self.model_path is not None and self.model_path.is_file():
            self._record(tags={"checkpoint_sha256": sha256_of(self.model_path)})
        if self.cur_run is not None:
            self._outage.attempt(self.complete)
            self._end("FINISHED")

    def _failed(self, _: Engine, error: BaseException) -> None:
        stopped = isinstance(error, (SystemExit, KeyboardInterrupt))
        if not stopped:
            self._record(tags={"error": f"{type(error).__name__}: {error}"})
        self._end("KILLED" if stopped else "FAILED")

    def _end(self, status: str) -> None:
        if self.cur_run is not None:
            self.run_finish_status = status
            self._outage.attempt(self.close)
        self.cur_run = None
        self._spool = None

    def _params(self, engine: Engine) -> dict[str, str]:
        params = dict(self.experiment_param or {})
        for name in self.default_tracking_params:
            params[name] = getattr(engine.state, name)
        if hasattr(engine, "network"):
            params["network_parameters"] = sum(p.numel() for p in unwrap(engine.network).parameters())
        return as_params(params)

    def _record(self, **entry: Any) -> None:
        """Send an entry after those that wait, or keep it for later."""
        if self._spool is None:
            return
        spool = self._spool
        spool.entries.append({"time": int(time.time() * 1000), **entry})
        if not self._outage.attempt(self._send_all):
            spool.keep()

    def _send_all(self) -> None:
        if self._spool is None:
            return
        if self.client is None:
            run_name = self.run_name
            self._connect()
            self.run_name = run_name
        if self.cur_run is None:
            self.cur_run = self._open()
            if self.cur_run is None:
                self._spool = None
                return
        for entry in list(self._spool.entries):
            send_entry(self.client, self.cur_run.info.run_id, entry)
            self._spool.sent(entry)

    def _open(self) -> Any:
        """Return the run of this name, created if need be; None if it is finished and stays so."""
        self._set_experiment()
        experiment = self.experiment.experiment_id
        named = f'attributes.run_name = "{self.run_name}"'
        runs = self.client.search_runs([experiment], named, order_by=["attributes.start_time DESC"], max_results=1)
        finished = bool(runs) and runs[0].info.status == "FINISHED"
        if finished and self._done:
            return None
        if not runs or (finished and self._fresh):
            return self.client.create_run(experiment, tags=as_tags(self.tags), run_name=self.run_name)
        self.client.update_run(runs[0].info.run_id, status="RUNNING")
        return self.client.get_run(runs[0].info.run_id)


def _checked_uri(uri: str) -> str:
    if "://" not in uri or uri.startswith("file:"):
        raise InputError(f"tracking_uri must be of SQLite or a server, MLflow has no file store any more, got {uri!r}.")
    return uri


def _nothing_left(engine: Engine) -> bool:
    state: Any = engine.state
    trained = bool(state.epoch_length) and state.iteration >= state.epoch_length * state.max_epochs
    return trained or bool(engine.should_terminate)
