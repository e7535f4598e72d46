# SPDX-License-Identifier: Apache-2.0
"""Runs in MLflow, which may fail without the training noticing."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri

from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.handlers.events import on_failure, run_late
from akd_monai.handlers.metrics import epoch_metrics
from akd_monai.handlers.run_name import unique_run_name
from akd_monai.handlers.spool import Spool
from akd_monai.networks.taps import unwrap

SPOOL_FILENAME = "mlflow_spool.jsonl"
_PAUSE_SECONDS = 60.0
# MLflow cuts a longer value and refuses more entries a call than these.
_LONGEST, _MOST = 6000, 100
# An unreachable server would otherwise hold a run up for minutes at each call.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}

logger = logging.getLogger(__name__)


class MLflowTracker(MLFlowHandler):
    """Track a run in MLflow: parameters, one batch of metrics an epoch, files, and the SHA-256 of the weights.

    Differs from :class:`monai.handlers.MLFlowHandler` in what a long run needs:

    * The run has a name of its own, kept in ``output_dir``: a resumed run goes on in its MLflow run, whatever state it
      was left in, and no other run ever does. A finished run that is started again without training leaves no trace.
    * Metrics of training and of the validation of the same epoch are sent together, with the learning rate, once an
      epoch. Undefined values (NaN, infinite) are left out and named in the tag ``undefined``.
    * If MLflow cannot be reached, one warning says so, the training goes on, and what was to be sent is kept in
      ``mlflow_spool.jsonl`` and sent as soon as MLflow answers again, at the latest when the run is resumed.
    * A run that fails ends as ``FAILED`` with the error as a tag, one that is stopped by a signal as ``KILLED``.

    An evaluation in the same ``output_dir`` gets a run of its own, with ``_evaluation`` after the name.

    Params: ``max_epochs``, ``epoch_length``, ``network_parameters`` and all of ``experiment_param``; a value that
    changed since the run began becomes the tag ``changed/<name>``, because MLflow does not change params.

    ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` and ``MLFLOW_HTTP_REQUEST_TIMEOUT`` are set to 1 and 5 where they are not set.

    With ``--tracking tracking.json``, MONAI adds it to any bundle::

        {
            "handlers_id": {
                "trainer": {"id": "train#trainer", "handlers": "train#handlers"},
                "evaluator": {"id": "evaluator", "handlers": "handlers"}
            },
            "configs": {
                "output_dir": "$@bundle_root + '/eval'",
                "tracking_uri": "$monai.utils.path_to_sqlite_uri(@output_dir + '/mlruns.db')",
                "experiment_name": "akd_monai",
                "run_name": null,
                "save_execute_config": true,
                "is_not_rank0": "$torch.distributed.is_initialized() and torch.distributed.get_rank() > 0",
                "trainer": {
                    "_target_": "akd_monai.handlers.MLflowTracker",
                    "_disabled_": "@is_not_rank0",
                    "output_dir": "@output_dir",
                    "tracking_uri": "@tracking_uri",
                    "experiment_name": "@experiment_name",
                    "run_name": "@run_name",
                    "experiment_param": {"learning_rate": "$@optimizer.defaults['lr']"},
                    "artifacts": "@save_execute_config",
                    "model_path": "$@bundle_root + '/models/model.pt'"
                },
                "evaluator": {
                    "_target_": "akd_monai.handlers.MLflowTracker",
                    "_disabled_": "@is_not_rank0",
                    "output_dir": "@output_dir",
                    "tracking_uri": "@tracking_uri",
                    "experiment_name": "@experiment_name",
                    "run_name": "@run_name",
                    "artifacts": "@save_execute_config"
                }
            }
        }

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
            raise InputError(f"run_name must be a text without double quotes, got {run_name!r}.")
        uri = tracking_uri or path_to_sqlite_uri(Path(output_dir) / "mlruns.db")
        if "://" not in uri or uri.startswith("file:"):
            raise InputError(
                f"tracking_uri must be of SQLite or a server, MLflow has no file store any more, got {uri!r}."
            )
        # MONAI's constructor connects, which takes seconds and may fail; a config is built for other reasons too.
        self._connect = partial(
            super().__init__,
            tracking_uri=uri,
            experiment_name=experiment_name,
            run_name=run_name,
            experiment_param=dict(experiment_param or {}),
            artifacts=artifacts,  # type: ignore[arg-type]
        )
        self.output_dir, self.model_path = Path(output_dir), None if model_path is None else Path(model_path)
        self.run_name, self.tags, self.experiment_param = run_name, dict(tags or {}), dict(experiment_param or {})
        self.evaluators = None if evaluator is None else [evaluator]
        self.client: Any = None
        self.cur_run: Any = None
        self.experiment: Any = None
        self._spool: Spool | None = None
        self._fresh = self._done = self._warned = False
        self._pause_until = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer or an evaluator on its own; the place among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.COMPLETED, self._completed)
        on_failure(engine, self._failed)

    def start(self, engine: Engine) -> None:
        """Open the run and log its parameters."""
        run_late(engine, Events.EPOCH_COMPLETED, self.epoch_completed)
        if getattr(engine.state, "rank", 0) != 0:
            return
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        state: Any = engine.state
        self._fresh = state.iteration == 0
        over = bool(state.epoch_length) and state.iteration >= state.epoch_length * state.max_epochs
        self._done = over or bool(engine.should_terminate)
        if not self.run_name:
            # An evaluation writes to the same folder, but is no part of the training's run.
            suffix = "_evaluation" if isinstance(engine, Evaluator) else ""
            self.run_name = unique_run_name(self.output_dir) + suffix
        self._spool = Spool(self.output_dir / SPOOL_FILENAME, self.run_name)
        self._record(params=self._params(engine), tags=self.tags)

    def epoch_completed(self, engine: Engine) -> None:
        """Send the metrics of the epoch."""
        metrics = epoch_metrics(engine, self.evaluators)
        undefined = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        defined = {name: value for name, value in metrics.items() if math.isfinite(value)}
        tags = {"undefined": f"{', '.join(undefined)} (epoch {engine.state.epoch})"} if undefined else {}
        self._record(metrics=defined, tags=tags, step=engine.state.epoch)

    def _completed(self, _: Engine) -> None:
        if self.model_path is not None and self.model_path.is_file():
            self._record(tags={"checkpoint_sha256": sha256_of(self.model_path)})
        if self.cur_run is not None:
            self._attempt(self.complete)
            self._end("FINISHED")

    def _failed(self, _: Engine, error: BaseException) -> None:
        stopped = isinstance(error, (SystemExit, KeyboardInterrupt))
        if not stopped:
            self._record(tags={"error": f"{type(error).__name__}: {error}"})
        self._end("KILLED" if stopped else "FAILED")

    def _end(self, status: str) -> None:
        if self.cur_run is not None:
            self.run_finish_status = status
            self._attempt(self.close)
        self.cur_run = self._spool = None

    def _params(self, engine: Engine) -> dict[str, str]:
        params = {
            **(self.experiment_param or {}),
            **{key: getattr(engine.state, key) for key in self.default_tracking_params},
        }
        if hasattr(engine, "network"):
            params["network_parameters"] = sum(p.numel() for p in unwrap(engine.network).parameters())
        return {_legal(name): str(value)[:_LONGEST] for name, value in _flat(params)}

    def _record(self, **entry: Any) -> None:
        """Send an entry after those that wait, or keep it for later."""
        if self._spool is None:
            return
        spool = self._spool
        spool.entries.append({"time": int(time.time() * 1000), **entry})
        if not self._attempt(self._send_all):
            spool.keep()

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Return whether ``action`` went well; after a failure, MLflow is left alone for a while."""
        if time.monotonic() < self._pause_until:
            return False
        try:
            action()
        except Exception as error:  # whatever goes wrong here, the training is worth more
            self._pause_until = time.monotonic() + _PAUSE_SECONDS
            if not self._warned:
                self._warned = True
                text, kept = " ".join(str(error).split())[:200], self.output_dir / SPOOL_FILENAME
                logger.warning("MLflow cannot be reached (%s): training goes on, what it misses is in %s", text, kept)
            return False
        return True

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
            self._send(entry)
            self._spool.sent(entry)

    def _open(self) -> Any:
        """Return the run of this name, made if need be; None if it is finished and stays so."""
        self._set_experiment()
        identity, name = self.experiment.experiment_id, f'attributes.run_name = "{self.run_name}"'
        runs = self.client.search_runs([identity], name, order_by=["attributes.start_time DESC"], max_results=1)
        finished = bool(runs) and runs[0].info.status == "FINISHED"
        if finished and self._done:
            return None
        if not runs or (finished and self._fresh):
            return self.client.create_run(identity, tags=_texts(self.tags), run_name=self.run_name)
        self.client.update_run(runs[0].info.run_id, status="RUNNING")
        return self.client.get_run(runs[0].info.run_id)

    def _send(self, entry: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        run_id, step, moment = self.cur_run.info.run_id, entry.get("step", 0), entry["time"]
        tags = dict(entry.get("tags", {}))
        params = {}
        if entry.get("params"):
            known = self.client.get_run(run_id).data.params
            params = {name: value for name, value in entry["params"].items() if name not in known}
            tags.update({f"changed/{k}": v for k, v in entry["params"].items() if k in known and known[k] != v})
        rows: list[Any] = [Metric(_legal(k), v, moment, step) for k, v in entry.get("metrics", {}).items()]
        rows += [Param(name, value) for name, value in params.items()]
        rows += [RunTag(name, value) for name, value in _texts(tags).items()]
        for start in range(0, len(rows), _MOST):
            part = rows[start : start + _MOST]
            kinds = {kind: [row for row in part if isinstance(row, kind)] for kind in (Metric, Param, RunTag)}
            self.client.log_batch(run_id, metrics=kinds[Metric], params=kinds[Param], tags=kinds[RunTag])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _legal(name: str) -> str:
    """Replace what MLflow does not take in a name."""
    return re.sub(r"[^\w\-. /:]", "_", name)


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value)[:_LONGEST] for name, value in tags.items()}
