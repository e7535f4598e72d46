# SPDX-License-Identifier: Apache-2.0
"""The record of an experiment, from which the report is made: plain data that goes through JSON unchanged."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np
import pandas as pd

from akd_monai._home import without_home
from akd_monai.errors import InputError, check_choice, unknown_name
from akd_monai.files import read_json, write_json

__all__ = [
    "CaseFiles",
    "CaseRow",
    "Data",
    "Mlflow",
    "Profile",
    "Results",
    "Role",
    "System",
    "case_key",
    "check_results",
    "read_case_rows",
    "read_results",
    "write_results",
]

Role = Literal["teacher", "baseline", "distilled"]
ROLES: tuple[Role, ...] = get_args(Role)
CaseRow = TypedDict(
    "CaseRow",
    {
        "case_id": str,
        "site": str,
        "class": str,
        "dice": float,
        "hd95_mm": float,
        "asd_mm": float,
        "reference_ml": float,
        "predicted_ml": float,
        "ece": float,
    },
    total=False,
)
CaseRow.__doc__ = """One case and class, as in the table of :class:`~akd_monai.handlers.case_metrics.CaseMetrics`.

``case_id`` and ``dice``, ``hd95_mm`` and ``asd_mm`` are needed; an undefined metric is NaN here and null in JSON.
``ece`` is in tables of evaluations that kept the probabilities.
"""


class Profile(TypedDict, total=False):
    """Cost of a network; each entry may be missing."""

    parameters: int
    gflops: float  # of convolutions and matrix products, two operations a multiplication with addition
    input_shape: list[int]  # of the tensor that gflops is for
    cpu_seconds_per_volume: float
    volume_shape: list[int]  # that the time is for
    threads: int
    checkpoint_bytes: int
    checkpoint_sha256: str


class System(TypedDict, total=False):
    """One network and its scores; ``key``, ``label``, ``role`` and ``per_case`` are needed.

    ``history`` has one entry an epoch: ``epoch``, ``loss/<term>`` for each term and ``loss/total``, ``val_mean_dice``.
    ``predictions`` maps a case's key (:func:`case_key`) to the file of its predicted classes.
    """

    key: str
    label: str
    role: Role
    per_case: list[CaseRow]
    profile: Profile
    history: list[dict[str, float]]
    predictions: dict[str, str]


class Data(TypedDict, total=False):
    """Where the cases come from; ``kind`` and ``description`` are needed."""

    kind: Literal["synthetic", "real"]
    description: str
    splits: dict[str, dict[str, int]]  # cases a site and part: {"S1": {"train": 4, "validation": 1, "test": 2}}


class Mlflow(TypedDict, total=False):
    """Where the runs are recorded; ``tracking_uri`` is needed unless ``command``, which shows them, is given."""

    tracking_uri: str
    experiment: str
    command: str


class CaseFiles(TypedDict):
    """Files of one case, for the pictures."""

    image: str
    label: str


class Results(TypedDict, total=False):
    """The record of an experiment.

    ``title``, ``data``, ``protocol``, ``target``, ``sources``, ``seed`` and ``systems`` are needed.
    ``images`` maps a case's key to its files. Paths are absolute, or relative to the folder of ``results.json``.
    ``reduced`` lists, a phrase each, what was made smaller than a study would have it. ``created`` is a string that
    says when; without it the report has no date.
    """

    title: str
    created: str
    data: Data
    protocol: str
    target: str
    sources: list[str]
    seed: int
    settings: dict[str, Any]
    reduced: list[str]
    overrides: dict[str, Any]
    machine: dict[str, Any]
    systems: list[System]
    images: dict[str, CaseFiles]
    commands: list[str]
    warnings: list[str]
    mlflow: Mlflow


_UNDEFINED = {name: ["nan"] for name in ("dice", "hd95_mm", "asd_mm", "reference_ml", "predicted_ml", "ece")}
_NEEDED = ("title", "data", "protocol", "target", "sources", "seed", "systems")


def case_key(row: CaseRow) -> str:
    """Return the name of a case that is unique over sites.

    Example:
        >>> case_key({"case_id": "Case00", "site": "S1"}), case_key({"case_id": "S1/Case00", "site": "S1"})
        ('S1/Case00', 'S1/Case00')
        >>> case_key({"case_id": "Case00", "site": ""})
        'Case00'
    """
    case = row["case_id"]
    site = row.get("site", "")
    return case if not site or case.startswith(f"{site}/") else f"{site}/{case}"


def read_case_rows(path: str | os.PathLike[str]) -> list[CaseRow]:
    """Read the table that :class:`~akd_monai.handlers.case_metrics.CaseMetrics` wrote.

    Raises:
        InputError: if the file is missing or is not such a table.
    """
    strings = {"case_id": str, "site": str, "class": str}
    try:
        # A site may be called NA; only figures may be undefined.
        frame = pd.read_csv(path, dtype=strings, keep_default_na=False, na_values=_UNDEFINED)
    except FileNotFoundError as error:
        raise InputError(f"there is no table of cases at {path}; evaluate first.") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a table of cases: {error}.") from error
    missing = [c for c in ("case_id", "dice", "hd95_mm", "asd_mm") if c not in frame.columns]
    if missing:
        raise InputError(f"{path} is not a table of cases: it has no column {missing[0]!r}.")
    return cast("list[CaseRow]", frame.to_dict("records"))


def check_results(results: Results) -> None:
    """Raise ``InputError`` unless the record has what a report needs, naming the first fault."""
    _need(results, _NEEDED, "the results")
    for name in results:
        if name not in Results.__annotations__:
            raise unknown_name("entry", name, Results.__annotations__, where="of the results")
    _need(results["data"], ("kind", "description"), "the entry 'data'")
    check_choice("kind of data", results["data"]["kind"], ("synthetic", "real"))
    if not results["systems"]:
        raise InputError("the results hold no system; give at least one with its table of cases.")
    for system in results["systems"]:
        _need(system, ("key", "label", "role", "per_case"), "a system")
        _check_system(system)
    names = [system["key"] for system in results["systems"]]
    if len(set(names)) < len(names):
        raise InputError(f"each system needs a key of its own, got {names}.")


def _check_system(system: System) -> None:
    name = system["key"]
    check_choice(f"role of system {name!r}", system["role"], ROLES)
    seen: set[tuple[str, str]] = set()
    for row in system["per_case"]:
        _need(row, ("case_id", "dice", "hd95_mm", "asd_mm"), f"a case of system {name!r}")
        entry = (case_key(row), row.get("class", ""))
        if entry in seen:
            raise InputError(f"system {name!r} has case {entry[0]!r} twice.")
        seen.add(entry)


def write_results(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write the record as JSON, sorted by key, with paths relative to its folder; equal records give equal bytes.

    A file in the home folder of a record that lies elsewhere is stored from ``~``.

    Raises:
        InputError: if the record lacks something or holds what JSON cannot.
    """
    check_results(results)
    folder = Path(path).resolve().parent
    record = _undefined_to_null(_with_paths(results, lambda file: _stored(folder / file, folder)))
    try:
        return write_json(path, record, sort_keys=True)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"the results do not fit into JSON: {error}.") from error


def read_results(path: str | os.PathLike[str]) -> Results:
    """Read a record back; its paths become absolute.

    Args:
        path: ``results.json``, or the folder that holds it.

    Raises:
        InputError: if there is no such file, or it holds no record of an experiment.
    """
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise InputError(f"there are no results at {file}; run an experiment first.")
    results = cast("Results", read_json(file))
    check_results(results)
    for system in results["systems"]:
        for row in [*system["per_case"], *system.get("history", [])]:
            values = cast("dict[str, Any]", row)
            values.update({k: math.nan for k, v in values.items() if v is None})
    folder = file.resolve().parent
    return _with_paths(results, lambda name: os.path.normpath(folder / Path(name).expanduser()))


def _stored(file: Path, folder: Path) -> str:
    """Return a path relative to ``folder``, or to the home folder where the way there would name it."""
    private = without_home(os.path.normpath(file))
    if private.startswith("~") and not without_home(str(folder)).startswith("~"):
        return private
    return os.path.relpath(file, folder)


def _need(record: Any, names: tuple[str, ...], what: str) -> None:
    if not isinstance(record, dict):
        raise InputError(f"{what} must be a mapping, got {type(record).__name__}.")
    missing = [name for name in names if name not in record]
    if missing:
        raise InputError(
            f"{what} must have {missing[0]!r}; got only {', '.join(sorted(map(str, record))) or 'nothing'}."
        )


def _with_paths(results: Results, change: Callable[[str], str]) -> Results:
    results = copy.deepcopy(results)
    for files in results.get("images", {}).values():
        files["image"] = change(files["image"])
        files["label"] = change(files["label"])
    for system in results["systems"]:
        if "predictions" in system:
            system["predictions"] = {case: change(file) for case, file in system["predictions"].items()}
    return results


def _undefined_to_null(value: Any) -> Any:
    """Return a value without NaN and NumPy types, which JSON does not have."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {k: _undefined_to_null(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_undefined_to_null(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
