# SPDX-License-Identifier: Apache-2.0
"""Track runs in MLflow without letting a failing server stop the training."""

from __future__ import annotations

import logging
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

from akd_monai._home import without_home
from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.handlers._evaluated_run import evaluation_entry, log_evaluation, training_run
from akd_monai.handlers._events import is_first_rank, on_failure, run_late
from akd_monai.handlers._experiments import how_to_show, show_as_trainings
from akd_monai.handlers._metrics import BEST_EPOCH, best_validation, epoch_metrics
from akd_monai.handlers._mlflow_entries import as_params, as_tags, send_entry
from akd_monai.handlers._mlflow_run import (
    RUN_TAG,
    artifact_files,
    checked_uri,
    effective_uri,
    find_run,
    relative_files,
    warn_of_password,
    without_home_in_configs,
    without_password,
)
from akd_monai.handlers._outage import Outage, limit_retries
from akd_monai.handlers._run_name import known_run_name
from akd_monai.handlers._run_params import training_params
from akd_monai.handlers._run_tags import data_tags, version_tags
from akd_monai.handlers._spool import SPOOL, Spool
from akd_monai.handlers._sqlite import database_of, follow_moved_files, prepare_database
from akd_monai.handlers._tracked_run import TrackedRun, id_of_run, nothing_left, parent_tag, write_tracked_run
from akd_monai.networks import unwrap

__all__ = ["MLflowTracker"]

logger = logging.getLogger(__name__)


class MLflowTracker(MLFlowHandler):
    """Track a run in MLflow: parameters, one batch of metrics an epoch, files, and the SHA-256 of the weights.

    Differs from :class:`monai.handlers.MLFlowHandler` in what a long run needs:

    * The run has an id of its own, kept in ``output_dir`` and in the tag ``akd_monai.run``: a resumed run continues in
      its MLflow run, whatever state it was left in, and no other run ever does, also one of the same name. A finished
      run that is started again without training leaves no trace.
    * Metrics of training and of the validation of the same epoch are sent together, with the learning rate, once an
      epoch. Undefined values (NaN, infinite) are not sent, but named in the tag ``undefined``.
    * If MLflow cannot be reached, one warning says so, the training continues, and what was to be sent is kept in
      ``mlflow_spool.jsonl`` and sent as soon as MLflow answers again, when the run is resumed, or by
      :func:`send_spooled`. A locked SQLite file is not waited for; a new one is made so that several runs may begin at
      once.
    * Neither params, tags nor files that are logged name the home folder or the user: ``~`` stands for it. An executed
      config in ``output_dir`` is written again with an expression in place of the folder, so that it still runs.
    * A run that fails ends as ``FAILED`` with the error as a tag, one that is stopped by a signal as ``KILLED``.

    * Params tell runs apart, see below; tags hold the versions, the commit of the working folder where it is under git,
      and the fingerprint of the cases; ``best_val_dice`` and ``best_epoch`` follow the best validation.
    * A test of the weights belongs to the run of their training: ``test_dice`` and others stand in its row, the table
      of cases and pictures of three of them in its folder ``test``.

    An evaluation that is tracked by this handler has a run of its own beside, with ``_evaluation`` after the name, nested in
    that of the training.

    Params of every training: ``role`` (``"distilled"``, or ``plain_role`` without a teacher), ``network``,
    ``network_parameters``, ``learning_rate``, ``batch_size``, ``max_epochs``, ``epoch_length``, ``device``, ``amp``,
    ``data_cache`` (``none``, ``memory``, ``files``), and ``initial_sha256`` where it starts from weights. Of a distilled
    one also ``teacher``, the name of its bundle, and ``teacher_sha256``, of several with commas between;
    ``teacher_cache``, ``terms``, and for each term, such as ``gram``, ``lambda_gram``, ``gram_layers`` and
    ``gram_options``. To them come ``experiment_param``, and ``run_params``, which go before all others. A value that
    changed since the run began becomes the tag ``changed/<name>``, because MLflow does not change params.

    ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` and ``MLFLOW_HTTP_REQUEST_TIMEOUT`` are set to 1 and 5 where they are not set.

    The bundles of this project have a ``configs/tracking.json`` with this handler, for ``--tracking`` of MONAI's
    ``run``; MONAI adds it to any bundle.

    Args:
        output_dir: folder of the run, for its name and the spool.
        tracking_uri: an SQLite or server URI; by default ``mlruns.db`` in ``output_dir``. The environment variable
            ``MLFLOW_TRACKING_URI`` goes before it, as in MONAI.
        experiment_name: experiment of MLflow.
        run_name: name of the run; by default :func:`unique_run_name` of ``output_dir``.
        experiment_param: parameters, nested ones as ``outer/inner``.
        artifacts: files or folders that are logged when the run is completed, such as the executed config.
        model_path: weights whose SHA-256 becomes the tag ``checkpoint_sha256`` when the run is completed.
        tags: tags of the run, such as ``mlflow.parentRunId``.
        evaluator: whose metrics are added; by default those that a ``ValidationHandler`` of the trainer runs.
        run_params: further parameters, such as ``{"protocol": "cross_site"}``; they go before those that are read.
        plain_role: role of a training without distillation, such as ``"teacher"``.
        bundle_root: folder of the bundle that is trained, whose name becomes the param ``bundle``.

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
        run_params: Mapping[str, Any] | None = None,
        plain_role: str = "alone",
        bundle_root: str | Path | None = None,
    ) -> None:
        if run_params is not None and not isinstance(run_params, Mapping):
            raise InputError(f"run_params must be a mapping from names to values, got {run_params!r}.")
        if run_name is not None and (not run_name or '"' in run_name):
            raise InputError(f"run_name must be a string without double quotes, got {run_name!r}.")
        default = path_to_sqlite_uri(Path(output_dir) / "mlruns.db")
        uri = checked_uri(tracking_uri or default)
        warn_of_password(uri)
        self._uri = uri
        # said of what waits; the default is left out, because a folder may be moved
        self._own_uri = "" if uri == default else without_password(uri)
        # MONAI's constructor connects, which takes seconds and may fail; a config is built for other reasons too.
        self._connect = partial(
            super().__init__,
            tracking_uri=uri,
            experiment_name=experiment_name,
            run_name=run_name,
            experiment_param=dict(experiment_param or {}),
        )
        self._experiment_name = experiment_name
        self._artifacts = artifacts
        self.output_dir = Path(output_dir)
        self.model_path = None if model_path is None else Path(model_path)
        self.run_name = run_name
        self.tags = dict(tags or {})
        self.experiment_param = dict(experiment_param or {})
        self.evaluators = None if evaluator is None else [evaluator]
        self.run_params = dict(run_params or {})
        self.plain_role = plain_role
        self.bundle_root = None if bundle_root is None else Path(bundle_root)
        self.client: Any = None
        self.cur_run: Any = None
        self.experiment: Any = None
        self._outage = Outage(self.output_dir / SPOOL)
        self._spool: Spool | None = None
        self._run = ""
        # a name that others may have tells nothing of a run of version 0.1, which had no id
        self._is_named_by_folder = run_name is None or run_name == known_run_name(output_dir)
        self._fresh = False
        self._done = False
        self._best_epoch = 0
        self._shown = ""
        self._trained: TrackedRun | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer or an evaluator on its own; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self.start)
        on_failure(engine, self._failed)

    def start(self, engine: Engine) -> None:
        """Open the run and log its parameters."""
        run_late(engine, Events.STARTED, self._data_known)
        run_late(engine, Events.EPOCH_COMPLETED, self.epoch_completed)
        run_late(engine, Events.COMPLETED, self._completed)
        if not is_first_rank(engine):
            return
        limit_retries()
        without_home_in_configs(artifact_files(self._artifacts))
        self._fresh = engine.state.iteration == 0
        self._done = nothing_left(engine)
        self._trained = training_run(engine) if isinstance(engine, Evaluator) else None
        # An evaluation writes to the same folder, but is no part of the training's run.
        suffix = "_evaluation" if isinstance(engine, Evaluator) else ""
        self._run = id_of_run(self.output_dir, self.run_name) + suffix
        if not self.run_name:
            self.run_name = self._run
        self._spool = Spool(self.output_dir / SPOOL, self._destination())
        for entry in self._spool.entries:
            entry.pop("status", None)  # how the run ended before it was resumed
        self._best_epoch = 0
        self._record(params=self._params(engine), tags=as_tags({**version_tags(), **self.tags}))

    def _data_known(self, engine: Engine) -> None:
        tags = {} if self._spool is None else data_tags(engine)
        if tags:
            self._record(tags=tags)

    def _destination(self) -> dict[str, str]:
        given = {
            "run": self._run,
            "run_name": self.run_name,
            "experiment_name": self._experiment_name,
            "tracking_uri": self._own_uri,
        }
        return {name: value for name, value in given.items() if value}

    def epoch_completed(self, engine: Engine) -> None:
        """Send the metrics of the epoch."""
        metrics = epoch_metrics(engine, self.evaluators)
        defined = {name: value for name, value in metrics.items() if math.isfinite(value)}
        undefined = sorted(metrics.keys() - defined.keys())
        tags = {"undefined": f"{', '.join(undefined)} (epoch {engine.state.epoch})"} if undefined else {}
        self._record(metrics={**defined, **self._new_best(engine)}, tags=tags, step=engine.state.epoch)
        if self._spool is not None and self.model_path is not None and self.model_path.is_file():
            write_tracked_run(self.model_path.parent, self._tracked_run())

    def _new_best(self, engine: Engine) -> dict[str, float]:
        """Return the best validation and its epoch, where they are not those of an epoch before."""
        best = best_validation(engine, self.evaluators)
        if best.get(BEST_EPOCH, 0) == self._best_epoch:
            return {}
        self._best_epoch = int(best[BEST_EPOCH])
        return best

    def _tracked_run(self) -> TrackedRun:
        uri = effective_uri(self._uri)
        return TrackedRun(self._run, str(self.run_name), self._experiment_name, uri)

    def _completed(self, engine: Engine) -> None:
        if isinstance(engine, Evaluator) and self._spool is not None:
            log_evaluation(engine, self.output_dir)
            self._record(**evaluation_entry(engine, self.output_dir))
        tags = {}
        if self.model_path is not None and self.model_path.is_file():
            tags["checkpoint_sha256"] = sha256_of(self.model_path)
        # once more, however soon after a failure: nothing is trained any more that could be delayed
        self._outage.end_pause()
        files = relative_files(artifact_files(self._artifacts), self.output_dir)
        self._record(tags=tags, artifacts=files, status="FINISHED")
        if self._shown:
            logger.info("Runs: %s", self._shown)
        self._leave()

    def _failed(self, _: Engine, error: BaseException) -> None:
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._record(status="KILLED")
        else:
            reason = without_home(f"{type(error).__name__}: {error}")
            self._record(tags={"error": reason}, status="FAILED")
        self._leave()

    def _leave(self) -> None:
        if self.client is not None:
            self._outage.attempt(self._dispose_sqlite_store)
        self.cur_run = None
        self._spool = None

    def _params(self, engine: Engine) -> dict[str, str]:
        params: dict[str, Any] = training_params(engine, self.plain_role)
        if self.bundle_root is not None:
            params["bundle"] = self.bundle_root.resolve().name
        params.update(self.experiment_param or {})
        for name in self.default_tracking_params:
            params[name] = getattr(engine.state, name)
        if hasattr(engine, "network"):
            params["network_parameters"] = sum(p.numel() for p in unwrap(engine.network).parameters())
        return as_params({**params, **self.run_params})

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
        uri = effective_uri(self._uri)
        prepare_database(uri)
        if self.client is None:
            database = database_of(uri)
            if database is not None:
                follow_moved_files(database)
            run_name = self.run_name
            self._connect()
            self.run_name = run_name
        if self.cur_run is None:
            self.cur_run = self._open()
            if self.cur_run is None:
                self._spool = None
                return
        for entry in list(self._spool.entries):
            send_entry(self.client, self.cur_run.info.run_id, entry, self.output_dir)
            self._spool.sent(entry)

    def _open(self) -> Any:
        """Return the run of this name, created if need be; None if it is finished and stays so."""
        self._set_experiment()
        show_as_trainings(self.client, self.experiment)
        experiment = self.experiment.experiment_id
        self._shown = how_to_show(effective_uri(self._uri), experiment)
        old_name = str(self.run_name) if self._is_named_by_folder else ""
        run = find_run(self.client, experiment, self._run, old_name)
        finished = run is not None and run.info.status == "FINISHED"
        if finished and self._done:
            return None
        tags = {**parent_tag(self.client, experiment, self._trained), **as_tags(self.tags), RUN_TAG: self._run}
        if run is None or (finished and self._fresh):
            return self.client.create_run(experiment, tags=tags, run_name=self.run_name)
        self.client.update_run(run.info.run_id, status="RUNNING")
        return self.client.get_run(run.info.run_id)
