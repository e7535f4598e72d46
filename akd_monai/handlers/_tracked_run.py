# SPDX-License-Identifier: Apache-2.0
"""A file beside the weights that says which run in MLflow they come from, also after their folder was moved."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from akd_monai._home import without_home
from akd_monai.errors import InputError, one_line
from akd_monai.files import read_json, sha256_of, write_json
from akd_monai.handlers._mlflow_run import PARENT_TAG, find_run, without_password
from akd_monai.handlers._sqlite import database_of
from akd_monai.handlers.run_name import unique_run_name

__all__ = [
    "TrackedRun",
    "id_of_run",
    "nothing_left",
    "parent_tag",
    "read_tracked_run",
    "run_of_weights",
    "write_tracked_run",
]

_FILENAME = "mlflow_run.json"
_BEST = "best.json"
_PREFIX = "sqlite:///"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """A run in MLflow.

    Attributes:
        run: the id that no other run has, the value of the tag ``akd_monai.run``.
        run_name: name in MLflow.
        experiment_name: experiment of MLflow.
        tracking_uri: where the run is tracked, without a password.
    """

    run: str
    run_name: str
    experiment_name: str
    tracking_uri: str


def id_of_run(output_dir: Path, run_name: str | None) -> str:
    """Return the id of the run in a folder, one of its own where the folder cannot be used.

    Raises:
        InputError: if there is neither a folder nor a name.
    """
    try:
        return unique_run_name(output_dir)
    except InputError:
        # without a folder there is nothing to resume
        if not run_name:
            raise
        return f"{run_name}_{uuid.uuid4().hex}"


def nothing_left(engine: Engine) -> bool:
    """Return whether an engine that starts has nothing to do."""
    state: Any = engine.state
    trained = bool(state.epoch_length) and state.iteration >= state.epoch_length * state.max_epochs
    return trained or bool(engine.should_terminate)


def parent_tag(client: Any, experiment: str, trained: TrackedRun | None) -> dict[str, str]:
    """Return the tag that nests an evaluation in the run of its training, if that is in the same experiment."""
    found = None if trained is None else find_run(client, experiment, trained.run)
    return {} if found is None else {PARENT_TAG: found.info.run_id}


def write_tracked_run(folder: Path, tracked: TrackedRun) -> None:
    """Keep in ``folder`` which run its weights belong to; a database is named from there, so that both may be moved."""
    content = asdict(tracked) | {"tracking_uri": _portable(tracked.tracking_uri, folder)}
    try:
        write_json(folder / _FILENAME, content, indent=2)
    except (OSError, InputError) as error:
        logger.warning("an evaluation will not find its run in MLflow (%s)", one_line(error))


def read_tracked_run(folder: Path) -> TrackedRun | None:
    """Return what was written to ``folder``, None if there is nothing that can be read."""
    path = folder / _FILENAME
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        names = TrackedRun.__dataclass_fields__
        tracked = TrackedRun(**{name: str(content[name]) for name in names})
    except (InputError, KeyError) as error:
        logger.warning("%s is not used: %s", path, one_line(error))
        return None
    return TrackedRun(**asdict(tracked) | {"tracking_uri": _found(tracked.tracking_uri, folder)})


def run_of_weights(weights: Path) -> TrackedRun | None:
    """Return the run that saved a file of weights, None if it was not tracked, or the file is another run's."""
    tracked = read_tracked_run(weights.parent)
    if tracked is None or not weights.is_file():
        return None
    best = _best(weights)
    is_own = best.get("run") == tracked.run and best.get("sha256") == sha256_of(weights)
    return tracked if is_own else None


def _best(weights: Path) -> Mapping[str, Any]:
    """Return what ``best.json`` says of a file of weights, nothing if it speaks of another."""
    try:
        content = json.loads(weights.with_name(_BEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_about = isinstance(content, Mapping) and content.get("file", weights.name) == weights.name
    return content if is_about else {}


def _portable(uri: str, folder: Path) -> str:
    database = database_of(uri)
    if database is None:
        return without_password(uri)
    absolute = str(database.absolute())
    hidden = without_home(absolute)
    # a relative path from elsewhere would name the home folder
    if hidden != absolute and without_home(str(folder.absolute())) == str(folder.absolute()):
        return _PREFIX + hidden
    try:
        return _PREFIX + Path(os.path.relpath(absolute, folder.absolute())).as_posix()
    except ValueError:
        return _PREFIX + hidden  # another drive


def _found(uri: str, folder: Path) -> str:
    database = database_of(uri)
    if database is None:
        return uri
    return _PREFIX + os.path.normpath(folder.absolute() / database.expanduser())
