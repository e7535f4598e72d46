# SPDX-License-Identifier: Apache-2.0
"""How MLflow shows the runs of a database, also after it was moved."""

from __future__ import annotations

from pathlib import Path

from akd_monai.errors import InputError, one_line
from akd_monai.files import as_path
from akd_monai.handlers._experiments import how_to_show, show_as_trainings
from akd_monai.handlers._mlflow_run import checked_uri, without_password
from akd_monai.handlers._outage import limit_retries
from akd_monai.handlers._sqlite import database_of, follow_moved_files, prepare_database

__all__ = ["show_runs"]

_DATABASE = "mlruns.db"
_MOST = 1000


def show_runs(tracking_uri: str | Path = "mlruns.db") -> list[str]:
    """Return one line for each experiment that has runs: its name, how many, and the command and address that show them.

    A database that was moved or copied with the folder ``mlruns`` beside it is first told where the files of its runs now
    are: MLflow keeps absolute addresses of them.

    Args:
        tracking_uri: a file of SQLite, the folder that holds ``mlruns.db``, or the URI of a database or server.

    Raises:
        InputError: if there is no such database, or MLflow cannot be reached.

    Example:
        >>> show_runs("no/such/mlruns.db")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: no/such/mlruns.db: there is no such database; ...
    """
    uri = _uri(tracking_uri)
    limit_retries()
    try:
        database = database_of(uri)
        if database is not None:
            prepare_database(uri)
            follow_moved_files(database)
        return _lines(uri)
    except Exception as error:  # whatever MLflow and its drivers raise
        what = f"MLflow cannot be reached ({one_line(without_password(str(error)))})"
        remedy = "see that the server runs, or that the file is a database of MLflow that nobody holds"
        raise InputError(what, where=without_password(uri), remedy=remedy) from error


def _uri(given: str | Path) -> str:
    if isinstance(given, str) and "://" in given:
        uri = checked_uri(given)
        path = database_of(uri)
    else:
        path = as_path(given, "tracking_uri")
        path = path / _DATABASE if path.is_dir() else path
        uri = f"sqlite:///{path.absolute()}"
    if path is not None and not path.is_file():
        remedy = "name the file, or the folder that holds mlruns.db"
        raise InputError("there is no such database", where=str(path), remedy=remedy)
    return uri


def _lines(uri: str) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    lines = []
    for experiment in client.search_experiments(order_by=["name ASC"]):
        found = client.search_runs([experiment.experiment_id], max_results=_MOST)
        if found:
            show_as_trainings(client, experiment)
            count = f"{len(found)}{' or more' if len(found) == _MOST else ''}"
            noun = "run" if len(found) == 1 else "runs"
            lines.append(f"{experiment.name}, {count} {noun}: {how_to_show(uri, experiment.experiment_id)}")
    return lines
