# SPDX-License-Identifier: Apache-2.0
"""Log a test of weights to the run in MLflow of the training that they come from."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.handlers import CheckpointLoader

from akd_monai.errors import InputError
from akd_monai.files import FolderLock
from akd_monai.handlers._evaluation_pictures import write_pictures
from akd_monai.handlers._evaluation_scores import case_metrics, defined, evaluated_part, evaluation_scores
from akd_monai.handlers._events import attached_handlers, is_first_rank
from akd_monai.handlers._experiments import experiment_id, how_to_show
from akd_monai.handlers._mlflow_entries import send_entry
from akd_monai.handlers._mlflow_run import effective_uri, find_run, relative_files, without_password
from akd_monai.handlers._outage import Outage, limit_retries
from akd_monai.handlers._spool import SPOOL, Spool
from akd_monai.handlers._sqlite import database_of, follow_moved_files, prepare_database
from akd_monai.handlers._tracked_run import TrackedRun, run_of_weights
from akd_monai.handlers.load_weights import LoadWeights

__all__ = ["evaluation_entry", "log_evaluation", "shown_runs", "training_run"]

_PICTURES = "pictures"
_LOCKED = "wait until the run ends that uses it"

logger = logging.getLogger(__name__)


def log_evaluation(evaluator: Engine, output_dir: Path) -> str | None:
    """Log what an evaluation measured to the run of the training; nothing if that was not tracked.

    If MLflow cannot be reached, one warning says so, and the entry is kept in ``mlflow_spool.jsonl`` of ``output_dir``.

    Args:
        evaluator: after its run.
        output_dir: folder of the evaluation.

    Returns:
        How the run is shown, None if nothing was logged.
    """
    tracked = training_run(evaluator) if is_first_rank(evaluator) else None
    if tracked is None or not _has_ended(evaluator):
        return None
    entry = {"time": int(time.time() * 1000), **evaluation_entry(evaluator, output_dir)}
    shown: list[str] = []
    outage = Outage(output_dir / SPOOL, what="evaluation")
    if outage.attempt(lambda: shown.append(_send(tracked, entry, output_dir))):
        return shown[0]
    _keep(tracked, entry, output_dir)
    return None


def _has_ended(evaluator: Engine) -> bool:
    """Return whether all cases were evaluated: a part of them has no figures."""
    handler = case_metrics(evaluator)
    return handler is None or handler.finished_table() is not None


def training_run(evaluator: Engine) -> TrackedRun | None:
    """Return the run of the training whose weights an evaluator has loaded, None where that was not tracked."""
    for handler in attached_handlers(evaluator):
        if isinstance(handler, LoadWeights):
            # what was exported from weights has figures of its own
            is_exported = hasattr(handler.network, "check_weights")
            return None if is_exported else run_of_weights(handler.path)
        if isinstance(handler, CheckpointLoader):
            return run_of_weights(Path(handler.load_path))
    return None


def evaluation_entry(evaluator: Engine, output_dir: Path) -> dict[str, Any]:
    """Return metrics, tags and files of an evaluation, as they are sent to a run."""
    part = evaluated_part(evaluator)
    handler = case_metrics(evaluator)
    table = None if handler is None else handler.finished_table()
    scores = evaluation_scores(evaluator, part, table)
    metrics = defined(scores)
    undefined = sorted(scores.keys() - metrics.keys())
    files: list[Path] = []
    # always, for an earlier evaluation may have said something else
    tags = {f"{part}.undefined": ", ".join(undefined) or "none"}
    if handler is not None and table is not None:
        tags[f"{part}.sites"] = ", ".join(str(site) for site in table["site"].unique() if site)
        files += [] if handler.path is None else [handler.path]
        files += write_pictures(evaluator, table, output_dir / _PICTURES)
    return {
        "metrics": metrics,
        "tags": tags,
        "artifacts": relative_files([str(file) for file in files], output_dir),
        "artifact_path": part,
    }


def shown_runs(weights: Path) -> str | None:
    """Return how MLflow shows the run that saved a file of weights, None where that is not known."""
    tracked = run_of_weights(weights)
    if tracked is None:
        return None
    shown: list[str] = []
    Outage(weights.parent / SPOOL, what="the command").attempt(lambda: shown.append(_found(tracked)[2]))
    return shown[0] if shown else None


def _send(tracked: TrackedRun, entry: dict[str, Any], folder: Path) -> str:
    client, run_id, shown = _found(tracked)
    send_entry(client, run_id, entry, folder)
    return shown


def _found(tracked: TrackedRun) -> tuple[Any, str, str]:
    """Return the client of MLflow, the id of the run there, and how it is shown."""
    limit_retries()
    uri = effective_uri(tracked.tracking_uri)
    database = database_of(uri)
    if database is not None:
        if not database.is_file():
            raise FileNotFoundError(f"{database} does not exist")
        follow_moved_files(database)
    prepare_database(uri)
    from mlflow import MlflowClient  # takes seconds, which nobody pays who tracks nothing

    client = MlflowClient(tracking_uri=uri)
    experiment = experiment_id(client, uri, tracked.experiment_name)
    run = find_run(client, experiment, tracked.run)
    if run is None:
        raise LookupError(f"{without_password(uri)} has no run {tracked.run}")
    return client, str(run.info.run_id), how_to_show(uri, experiment)


def _keep(tracked: TrackedRun, entry: dict[str, Any], folder: Path) -> None:
    destination = {
        "run": tracked.run,
        "run_name": tracked.run_name,
        "experiment_name": tracked.experiment_name,
        "tracking_uri": tracked.tracking_uri,
    }
    try:
        with FolderLock(folder, remedy=_LOCKED):
            spool = Spool(folder / SPOOL, destination)
            spool.entries.append(entry)
            spool.keep()
    except InputError as error:
        logger.warning("what could not be sent to MLflow is not kept: %s", error)
