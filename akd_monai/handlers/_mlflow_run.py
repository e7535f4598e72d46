# SPDX-License-Identifier: Apache-2.0
"""The run in MLflow that belongs to a training, found by an id that no other training has."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai._home import map_strings, runnable_without_home
from akd_monai.errors import InputError, one_line
from akd_monai.files import read_json, write_json

__all__ = [
    "PARENT_TAG",
    "RUN_TAG",
    "URI_VARIABLE",
    "artifact_files",
    "checked_uri",
    "effective_uri",
    "find_run",
    "relative_files",
    "warn_of_password",
    "without_home_in_configs",
    "without_password",
]

# cells of an experiment inherit an address with a password in it
URI_VARIABLE = "AKD_MONAI_TRACKING_URI"
_MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"
RUN_TAG = "akd_monai.run"
PARENT_TAG = "mlflow.parentRunId"
# as MONAI names the executed config
_EXECUTED = re.compile(r"config_\d{8}_\d{6}\.json")

# MONAI adds the name to output_dir as if that always was an expression
_UNEVALUATED = re.compile(r"(.*) \+ '/(config_\d{8}_\d{6}\.json)'")

# of a password that holds an @ itself, the last one ends it
_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#]*@")
_SECRET = re.compile(r"([?&](?:password|passwd|pwd|secret|token|access_token|api_key)=)[^&\s'\")]*", re.IGNORECASE)

logger = logging.getLogger(__name__)


def find_run(client: Any, experiment_id: str, run: str, old_name: str = "") -> Any:
    """Return the newest run of MLflow with this id, None if there is none.

    Args:
        client: of MLflow.
        experiment_id: where to search.
        run: the id.
        old_name: name by which version 0.1 knew its runs, which it gave no id; empty for a name that others may have.
    """
    newest = {"order_by": ["attributes.start_time DESC"], "max_results": 1}
    found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run}'", **newest)
    if not found and old_name:
        named = client.search_runs([experiment_id], f'attributes.run_name = "{old_name}"', **newest)
        found = [entry for entry in named if RUN_TAG not in entry.data.tags]
    return found[0] if found else None


def checked_uri(uri: str) -> str:
    """Return a URI of a config, which must be of SQLite or a server.

    Raises:
        InputError: for a file store, which MLflow no longer has.
    """
    if "://" not in uri or uri.startswith("file:"):
        raise InputError(f"tracking_uri must be of SQLite or a server, MLflow has no file store any more, got {uri!r}.")
    return uri


def effective_uri(uri: str) -> str:
    """Return the URI that is used: the environment variable goes before that of a config, as in MONAI."""
    return os.environ.get(_MLFLOW_VARIABLE) or uri


def warn_of_password(uri: str) -> None:
    """Say how a password is kept out of commands, if one may have been in one."""
    from_variable = {os.environ.get(name) for name in (_MLFLOW_VARIABLE, URI_VARIABLE)}
    if without_password(uri) != uri and uri not in from_variable and not os.environ.get(_MLFLOW_VARIABLE):
        logger.warning(
            "tracking_uri holds a password, which MONAI prints with the arguments of its command and lists of processes "
            "show: give it in the environment variable %s",
            _MLFLOW_VARIABLE,
        )


def without_password(text: str) -> str:
    """Return a URI, or a message that quotes some, without what stands before an @ and without secret parameters.

    Example:
        >>> without_password("https://ada:secret@server/mlflow")
        'https://server/mlflow'
        >>> without_password("no answer from postgresql://server/db?user=ada&password=secret (timeout)")
        'no answer from postgresql://server/db?user=ada&password=*** (timeout)'
    """
    return _SECRET.sub(r"\1***", _CREDENTIALS.sub("", text))


def artifact_files(given: Any) -> list[str]:
    """Return the files of a path, or of a list of paths, with those inside folders."""
    listed = given if isinstance(given, (list, tuple)) else [given]
    files = []
    for entry in listed:
        if not entry or isinstance(entry, bool):
            continue
        path = Path(_UNEVALUATED.sub(r"\1/\2", str(entry)))
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [str(file) for file in found if file.is_file()]
    return files


def relative_files(files: Sequence[str], folder: Path) -> list[str]:
    """Return files below ``folder`` relative to it, so that the folder may be moved, and others absolute."""
    root = folder.absolute()
    relative = []
    for file in files:
        path = Path(file).absolute()
        relative.append(path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path))
    return relative


def without_home_in_configs(files: Sequence[str]) -> None:
    """Write the executed configs among ``files`` again, with the home folder as an expression: they still run.

    Passwords in URIs are left out.
    """
    for file in files:
        path = Path(file)
        if _EXECUTED.fullmatch(path.name):
            try:
                config = read_json(path)
                private = map_strings(map_strings(config, without_password), runnable_without_home)
                if private != config:
                    write_json(path, private, indent=4)
            except (OSError, ValueError) as error:
                logger.warning("%s may name your home folder (%s)", path, one_line(error))
