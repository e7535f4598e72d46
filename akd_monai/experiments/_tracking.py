# SPDX-License-Identifier: Apache-2.0
"""An experiment in MLflow: one run, in which the runs of its cells are nested."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from akd_monai.errors import one_line
from akd_monai.experiments._plan.cell import Cell, Row
from akd_monai.experiments._plan.matrix import CONTROLS
from akd_monai.handlers import unique_run_name
from akd_monai.handlers._experiments import experiment_id, how_to_show
from akd_monai.handlers._mlflow_run import RUN_TAG, URI_VARIABLE, checked_uri, effective_uri, find_run, without_password
from akd_monai.handlers._outage import limit_retries
from akd_monai.handlers._sqlite import database_of, prepare_database

__all__ = ["ExperimentRun", "tracked"]

_EXPERIMENT_TAG = "akd_monai.experiment"
_PARENT_TAG = "mlflow.parentRunId"
_ROW = ("target", "seed", "role", "network", "method", "teacher", "fold", "labelled")

_CONTROLS = {name for names in CONTROLS.values() for name in names}

_Status = Literal["FINISHED", "FAILED", "KILLED"]

logger = logging.getLogger(__name__)


class ExperimentRun:
    """The run of an experiment in MLflow, the same whenever the experiment is started in its folder.

    If MLflow cannot be reached, a warning says so and the cells run all the same; what they log is kept as the tracker
    of a training keeps it, and their runs are nested when the experiment is started or ended the next time.

    Args:
        folder: of the experiment.
        name: of the experiment, also in MLflow.
        uri: an SQLite or server URI; a relative file is one of the present folder. ``MLFLOW_TRACKING_URI`` goes before.
        protocol: of the experiment, a param of each run.

    Raises:
        InputError: for a URI of another kind.
    """

    def __init__(self, folder: Path, name: str, uri: str, protocol: str = "") -> None:
        # the cells do not see the variable
        uri = effective_uri(checked_uri(uri))
        file = database_of(uri)
        # the cells start in other folders
        self._uri = uri if file is None else f"sqlite:///{file.absolute()}"
        self._name = name
        self._protocol = protocol
        self._id = unique_run_name(folder, name)
        self._parent: str | None = None

    def tracked(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells with the arguments by which each is tracked in a run of its own."""
        return [replace(cell, command=(*cell.command, *self._arguments(cell))) for cell in cells]

    def open(self) -> None:
        """Find or make the run of the experiment."""
        self._attempt("RUNNING")

    def close(self, status: _Status) -> None:
        """End the run of the experiment."""
        self._attempt(status)

    def _arguments(self, cell: Cell) -> list[str]:
        tags = {_EXPERIMENT_TAG: self._id, "cell": cell.name, "kind": cell.kind}
        for name in _ROW:
            value = getattr(cell.row, name)
            if value is not None:
                tags[name] = str(value)
        if self._parent is not None:
            tags[_PARENT_TAG] = self._parent
        values = {
            "tracking": "configs/tracking.json",
            "tracking_uri": self._written_uri(),
            "experiment_name": _quoted(self._name),
            "run_name": cell.name,
            "run_tags": repr(tags),
            "run_params": repr(_params(cell, self._protocol)),
        }
        return [f"--{name}={value}" for name, value in values.items()]

    def _written_uri(self) -> str:
        """Return the address as a command has it; with a password it is taken from a variable, which no log shows."""
        public = without_password(self._uri)
        if public == self._uri:
            return self._uri
        # MONAI prints every argument of a command, and so do lists of processes
        os.environ[URI_VARIABLE] = self._uri
        return f"$__import__('os').environ.get({URI_VARIABLE!r}, {public!r})"

    def _attempt(self, status: str) -> None:
        try:
            self._update(status)
        except Exception as error:  # whatever goes wrong here, the experiment is worth more
            reason = without_password(one_line(error))
            logger.warning("MLflow cannot be reached (%s); the cells are run all the same", reason)

    def _update(self, status: str) -> None:
        limit_retries()
        prepare_database(self._uri)
        from mlflow.tracking import MlflowClient  # takes seconds, which nobody pays who tracks nothing

        client = MlflowClient(self._uri)
        experiment = experiment_id(client, self._uri, self._name)
        run = find_run(client, experiment, self._id)
        if run is None:
            run = client.create_run(experiment, tags={RUN_TAG: self._id}, run_name=self._name)
        self._parent = run.info.run_id
        for child in _children(client, experiment, self._id):
            if _PARENT_TAG not in child.data.tags:
                client.set_tag(child.info.run_id, _PARENT_TAG, self._parent)
        client.update_run(self._parent, status=status)
        if status != "RUNNING":
            logger.info("Runs: %s", how_to_show(self._uri, experiment))


@contextlib.contextmanager
def tracked(
    cells: Sequence[Cell], folder: Path, name: str, uri: str | None, protocol: str = ""
) -> Iterator[Sequence[Cell]]:
    """Give the cells as they are tracked while the block runs, whose end is that of the experiment's run.

    Args:
        cells: what is run.
        folder: as for :class:`ExperimentRun`.
        name: likewise.
        uri: likewise; without one nothing is tracked.
        protocol: likewise.
    """
    if uri is None:
        yield cells
        return
    run = ExperimentRun(folder, name, uri, protocol)
    run.open()
    status: _Status = "FAILED"
    try:
        yield run.tracked(cells)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.close(status)


def _params(cell: Cell, protocol: str) -> dict[str, str]:
    """Return what the table of runs needs to know of a cell, beside what its training says of itself."""
    row = cell.row
    params = {"protocol": protocol, "method": row.method, "target": row.target, "role": _role(row)}
    return {name: value for name, value in params.items() if value}


def _role(row: Row) -> str:
    """Return the role of a row in a comparison.

    Example:
        >>> _role(Row("HK", 0, "student", "enet", "without")), _role(Row("HK", 0, "student", "enet", "joint"))
        ('alone', 'control')
    """
    if row.role == "teacher":
        return "teacher"
    if row.teacher is not None:
        return "distilled"
    return "control" if row.method in _CONTROLS else "alone"


def _children(client: Any, experiment: str, name: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment], f"tags.`{_EXPERIMENT_TAG}` = '{name}'", page_token=token or None)
        found += page
        token = page.token
    return found


def _quoted(name: str) -> str:
    """Return a name so that the command line takes it for a string.

    Example:
        >>> _quoted("table2"), _quoted("2024")
        ('table2', "'2024'")
    """
    return repr(name) if re.fullmatch(r"[\d._+-]+", name) else name
