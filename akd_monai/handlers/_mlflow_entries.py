# SPDX-License-Identifier: Apache-2.0
"""Entries of a run (params, metrics, tags) in the form and the portions that MLflow takes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from akd_monai._home import without_home
from akd_monai.handlers._mlflow_run import without_password

__all__ = ["as_params", "as_tags", "send_entry"]

# MLflow cuts a longer value and refuses more entries a call than these.
_LONGEST = 6000
_MOST = 100


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested values as params named ``outer/inner``, without the home folder and passwords in addresses.

    Example:
        >>> as_params({"lr": 0.01, "teacher": {"name (short)": "unet"}})
        {'lr': '0.01', 'teacher/name _short_': 'unet'}
    """
    return {_legal(name): _public(str(value))[:_LONGEST] for name, value in _flat(values)}


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as tags, without the home folder and passwords in addresses."""
    return {str(name): _public(str(value))[:_LONGEST] for name, value in values.items()}


def send_entry(client: Any, run_id: str, entry: Mapping[str, Any], folder: Path) -> None:
    """Log an entry with ``"time"`` and, each if it likes, ``"params"``, ``"metrics"``, ``"step"``, ``"tags"``.

    ``"artifacts"`` are files to be logged, in the folder ``"artifact_path"`` of the run if there is one; missing ones are
    skipped. ``"status"`` ends the run. MLflow does not change params: a value other than the logged one becomes the tag
    ``changed/<name>``.

    Args:
        client: of MLflow.
        run_id: of the run in MLflow.
        entry: what is logged.
        folder: relative paths of artifacts start here.
    """
    from mlflow.entities import Metric, Param, RunTag

    params, changed = _new_and_changed(client, run_id, entry.get("params"))
    tags = as_tags({**entry.get("tags", {}), **changed})
    rows: list[Any] = []
    for name, value in entry.get("metrics", {}).items():
        rows.append(Metric(_legal(name), value, entry["time"], entry.get("step", 0)))
    rows += [Param(name, value) for name, value in params.items()]
    rows += [RunTag(name, value) for name, value in tags.items()]
    for start in range(0, len(rows), _MOST):
        portion = rows[start : start + _MOST]
        client.log_batch(
            run_id,
            metrics=[row for row in portion if isinstance(row, Metric)],
            params=[row for row in portion if isinstance(row, Param)],
            tags=[row for row in portion if isinstance(row, RunTag)],
        )
    for name in entry.get("artifacts", []):
        # version 0.1 kept paths relative to the working folder
        found = [path for path in (folder / name, Path(name)) if path.is_file()]
        if found:
            _log_artifact(client, run_id, found[0], entry.get("artifact_path"))
    if "status" in entry:
        client.set_terminated(run_id, entry["status"], end_time=entry["time"])


def _log_artifact(client: Any, run_id: str, path: Path, place: str | None) -> None:
    """Log a file, if it is a text, without the home folder and passwords in addresses."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        client.log_artifact(run_id, str(path), place)
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / path.name
        copy.write_text(_public(text), encoding="utf-8")
        client.log_artifact(run_id, str(copy), place)


def _public(text: str) -> str:
    return without_home(without_password(text))


def _new_and_changed(
    client: Any, run_id: str, given: Mapping[str, str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    new: dict[str, str] = {}
    changed: dict[str, str] = {}
    if given:
        known = client.get_run(run_id).data.params
        for name, value in given.items():
            if name not in known:
                new[name] = value
            elif known[name] != value:
                changed[f"changed/{name}"] = value
    return new, changed


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _legal(name: str) -> str:
    """Replace what MLflow does not take in a name."""
    return re.sub(r"[^\w\-. /:]", "_", name)
