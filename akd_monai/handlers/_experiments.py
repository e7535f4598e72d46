# SPDX-License-Identifier: Apache-2.0
"""An experiment of MLflow: made where its database lies, shown as a table of runs."""

from __future__ import annotations

import json
import re
from typing import Any

from monai.utils import path_to_uri

from akd_monai._home import without_home
from akd_monai.handlers._mlflow_run import without_password
from akd_monai.handlers._sqlite import database_of

__all__ = ["experiment_id", "how_to_show", "show_as_trainings"]

# MLflow 3 otherwise opens an experiment in its view for language models, which has no table of runs
_KIND_TAG = "mlflow.experimentKind"
_TRAININGS = "custom_model_development"
# a view that MLflow keeps with the experiment: without one its table shows neither params nor metrics
_VIEW = "akd_monai"
_VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
_PARAMS = ("role", "recipe", "teacher", "lambda_logits", "lambda_gram", "lambda_affinity", "network", "sites")
_METRICS = ("best_val_dice", "test_dice", "test_hd95_mm")
_HOST = "http://127.0.0.1:5000"
_PAGE = f"runs?viewStateShareKey={_VIEW}&workflowType=machine_learning"


def experiment_id(client: Any, uri: str, name: str) -> str:
    """Return the id of an experiment, made if need be, with the files of its runs beside the database.

    Args:
        client: of MLflow.
        uri: of the database or server.
        name: of the experiment.
    """
    known = client.get_experiment_by_name(name)
    if known is not None:
        found = str(known.experiment_id)
    else:
        database = database_of(uri)
        location = None if database is None else path_to_uri(database.absolute().parent / "mlruns")
        found = str(client.create_experiment(name, artifact_location=location))
        known = client.get_experiment(found)
    show_as_trainings(client, known)
    return found


def show_as_trainings(client: Any, experiment: Any) -> None:
    """Let MLflow's pages open an experiment as a table of runs, unless somebody has chosen another view."""
    columns = [f"metrics.`{name}`" for name in _METRICS] + [f"params.`{name}`" for name in _PARAMS]
    wanted = {_KIND_TAG: _TRAININGS, _VIEW_TAG: json.dumps({"selectedColumns": columns})}
    for name, value in wanted.items():
        if name not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, name, value)


def how_to_show(uri: str, experiment: str) -> str:
    """Return the command, and the address in a browser, that show the runs of an experiment.

    Args:
        uri: of the database or server.
        experiment: id in MLflow.

    Example:
        >>> how_to_show("https://ada:secret@server/mlflow/", "3")
        'https://server/mlflow/#/experiments/3/runs?viewStateShareKey=akd_monai&workflowType=machine_learning'
        >>> how_to_show("sqlite:////data/my runs/mlruns.db", "1").partition(", then ")[0]
        'mlflow ui --backend-store-uri "sqlite:////data/my runs/mlruns.db"'
    """
    page = f"#/experiments/{experiment}/{_PAGE}"
    if re.match("https?://", uri):
        return f"{without_password(uri).rstrip('/')}/{page}"
    database = database_of(uri)
    shown = without_password(uri) if database is None else f"sqlite:///{database.absolute()}"
    shown = without_home(shown, home="$HOME")
    if re.search(r"[^\w$/:.@%+-]", shown):
        shown = f'"{shown}"'
    return f"mlflow ui --backend-store-uri {shown}, then {_HOST}/{page}"
