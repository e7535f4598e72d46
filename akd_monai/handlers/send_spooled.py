# SPDX-License-Identifier: Apache-2.0
"""Send to MLflow what a training could not send."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.utils import path_to_sqlite_uri

from akd_monai.errors import InputError, one_line
from akd_monai.files import FolderLock, as_path
from akd_monai.handlers._experiments import experiment_id
from akd_monai.handlers._mlflow_entries import send_entry
from akd_monai.handlers._mlflow_run import RUN_TAG, checked_uri, effective_uri, find_run, without_password
from akd_monai.handlers._outage import limit_retries
from akd_monai.handlers._spool import SPOOL, Spool, read_spool
from akd_monai.handlers._sqlite import prepare_database

__all__ = ["send_spooled"]

_EXPERIMENT = "akd_monai"
_LONGEST = 200


def send_spooled(output_dir: str | Path, tracking_uri: str | None = None) -> int:
    """Send what :class:`MLflowTracker` kept in ``mlflow_spool.jsonl`` of ``output_dir``, and return how many entries.

    Each entry goes to the run that it belongs to, found by an id that no other run has, and created if need be. What
    was sent is taken out of the file; what could not be sent stays. The verb ``send`` of the command line calls it.

    Args:
        output_dir: folder of a run that is not running.
        tracking_uri: where to; by default the environment variable ``MLFLOW_TRACKING_URI``, else where the run wanted
            to send it.

    Raises:
        InputError: if the folder does not exist, is in use by a run, or MLflow cannot be reached; and, when all else was
            sent, for lines of the file that cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     send_spooled(folder)
        0
    """
    folder = as_path(output_dir, "output_dir")
    if not folder.is_dir():
        raise InputError(f"output_dir {str(folder)!r} does not exist; give the folder of a run.")
    path = folder / SPOOL
    with FolderLock(folder, remedy="wait until that run ends, which sends them itself"):
        unread: list[int] = []
        runs = {entry.get("run", entry.get("run_name")): entry for entry in read_spool(path, unread)}
        count = sum(_send(path, destination, tracking_uri) for destination in runs.values())
    if unread:
        kept = "1 line that cannot be read" if len(unread) == 1 else f"{len(unread)} lines that cannot be read"
        what = f"{count} entries were sent; the file keeps {kept}"
        remedy = "delete the file; what a training logs stands in its history.jsonl as well"
        raise InputError(what, where=str(path), remedy=remedy)
    return count


def _send(path: Path, destination: Mapping[str, Any], tracking_uri: str | None) -> int:
    from mlflow import MlflowClient

    run = str(destination.get("run", destination.get("run_name")))
    spool = Spool(path, {**_text(destination), "run": run})
    wanted = spool.destination.get("tracking_uri") or str(path_to_sqlite_uri(path.parent / "mlruns.db"))
    uri = checked_uri(tracking_uri) if tracking_uri else effective_uri(wanted)
    count = len(spool.entries)
    limit_retries()
    try:
        prepare_database(uri)
        client = MlflowClient(tracking_uri=uri)
        run_id = _run_id(client, uri, spool)
        for entry in list(spool.entries):
            send_entry(client, run_id, entry, path.parent)
            spool.sent(entry)
        _end(client, run_id)
    except Exception as error:  # whatever MLflow and its drivers raise
        reason = one_line(without_password(str(error)), _LONGEST)
        raise InputError(
            f"MLflow at {without_password(uri)} does not take the entries ({reason})",
            where=str(path),
            remedy="nothing is lost: try again, or name another tracking_uri",
        ) from error
    finally:
        if len(spool.entries) < count and spool.entries:
            spool.keep()
    return count


def _text(destination: Mapping[str, Any]) -> dict[str, str]:
    names = ("run_name", "experiment_name", "tracking_uri")
    return {name: str(destination[name]) for name in names if destination.get(name)}


def _run_id(client: Any, uri: str, spool: Spool) -> str:
    experiment = experiment_id(client, uri, spool.destination.get("experiment_name", _EXPERIMENT))
    run = spool.destination["run"]
    name = spool.destination.get("run_name", run)
    # an id of version 0.1 is the name of the run
    found = find_run(client, experiment, run, old_name=name if name == run else "")
    if found is None:
        found = client.create_run(experiment, run_name=name, tags={RUN_TAG: run})
    return str(found.info.run_id)


def _end(client: Any, run_id: str) -> None:
    # the run is over, since its folder is free; one that was killed could not say so
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "KILLED")
