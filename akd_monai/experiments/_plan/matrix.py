# SPDX-License-Identifier: Apache-2.0
"""The file of an experiment: which protocol, sites, folds, networks, methods and seeds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from akd_monai.data import SITES
from akd_monai.data.protocols import Protocol
from akd_monai.errors import InputError, check_choice, check_mapping, unknown_name
from akd_monai.experiments._plan.bundles import find_bundle
from akd_monai.experiments._plan.methods import Context, Method, read_methods
from akd_monai.experiments._plan.values import (
    check_different,
    folder_name,
    folder_names,
    integers,
    is_folder_name,
    mapping,
    one_integer,
    yes_or_no,
)
from akd_monai.files import as_path, read_json

__all__ = ["CONTROLS", "Matrix", "Network", "read_matrix"]

# which controls each protocol allows: leave one site out never touches the labels of the target
CONTROLS: dict[str, tuple[str, ...]] = {
    "cross_site": (
        "teacher_zero_shot",
        "teacher_own_sites",
        "teacher_at_target",
        "teacher_adapted",
        "pretrained",
        "joint",
    ),
    "loso": ("teacher_zero_shot", "teacher_own_sites"),
}


@dataclass(frozen=True)
class Network:
    """A teacher or student.

    Args:
        name: in the experiment.
        bundle: a network part of this package, or a bundle's folder.
        settings: config ids that are changed in it.
        adapt: config ids that are changed where it starts from what it learned at the sources.
    """

    name: str
    bundle: str
    settings: dict[str, Any] = field(default_factory=dict)
    adapt: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """What an experiment's file says.

    Args:
        name: what tables are called.
        protocol: ``"cross_site"`` or ``"loso"``.
        dataset_dir: prepared data, relative to the file.
        sites: all sites in use.
        sources: where teachers learn, but for the target; all sites by default.
        targets: the target sites; all by default.
        folds: into how many folds a target's cases are split; 1 under ``"loso"``, which tests them all.
        run_folds: the folds that are run; all by default.
        seeds: one run each.
        teachers: by name.
        students: by name.
        methods: by name; the plain student, called ``without``, is always run.
        controls: further rows, of :data:`CONTROLS`.
        settings: config ids that are changed in every bundle, such as ``epochs``.
        labelled_cases: how many of a student's training cases at the target have labels, a row for each number; ``None``
            for all of them.
        teacher_cache: whether the students share what their teacher has computed, in ``cache`` of the experiment.
        gpus_per_cell: processes in which each training learns, by ``torchrun``; ``batch_size`` counts for each of them.
    """

    name: str
    protocol: Protocol
    dataset_dir: Path
    sites: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    folds: int
    run_folds: tuple[int, ...]
    seeds: tuple[int, ...]
    teachers: tuple[Network, ...]
    students: tuple[Network, ...]
    methods: tuple[Method, ...]
    controls: tuple[str, ...]
    settings: dict[str, Any]
    labelled_cases: tuple[int | None, ...]
    teacher_cache: bool
    gpus_per_cell: int

    @property
    def has_pretrained(self) -> bool:
        """Whether students learn at the sources, for rows that start from there."""
        return "pretrained" in self.controls or any(method.initial == "sources" for method in self.methods)

    def has_adapted(self, labelled: int | None) -> bool:
        """Return whether teachers are adapted to that many labelled cases of the target."""
        methods = [method for method in self.methods if method.teacher == "adapted"]
        return "teacher_adapted" in self.controls or any(method.is_run(labelled) for method in methods)


_RESERVED = ("without", "sources", *CONTROLS["cross_site"])
_DEFAULTS: dict[str, Any] = {
    "protocol": "cross_site",
    "sites": [site.name for site in SITES],
    "folds": 4,
    "seeds": [0],
    "methods": {"distilled": {}},
    "controls": ["teacher_zero_shot"],
    "settings": {},
    "labelled_cases": [None],
    "teacher_cache": False,
    "gpus_per_cell": 1,
}


def read_matrix(path: str | os.PathLike[str], dataset_dir: str | os.PathLike[str] | None = None) -> Matrix:
    """Read the file of an experiment.

    Args:
        path: of the file.
        dataset_dir: prepared data in place of those that the file names.

    Raises:
        InputError: if it is no JSON, or a value is of another kind or out of range.
        UnknownNameError: for a key, protocol, site, network, term or control that does not exist.
    """
    path = Path(path)
    where = f"experiment {str(path)!r}"
    known = [one.name for one in fields(Matrix)]
    content = check_mapping(where, read_json(path), known)
    given = {**_DEFAULTS, "name": _file_name(path, content, where), **content}
    if dataset_dir is not None:
        given["dataset_dir"] = str(as_path(dataset_dir, "dataset_dir").resolve())
    for name in ("dataset_dir", "teachers", "students"):
        if not given.get(name):
            flag = ", or give --dataset_dir" if name == "dataset_dir" else ""
            raise InputError(f"has no {name}", where=where, remedy=f"add {name!r}{flag}")
    check_choice(f"protocol of {where}", given["protocol"], get_args(Protocol))
    sites = folder_names("site", given["sites"], where)
    is_loso = given["protocol"] == "loso"
    folds = one_integer("folds", given["folds"], 1 if is_loso else 2, where)
    if is_loso:
        # every case of the target is a test case
        folds = 1
    run_folds = integers("run_folds", given.get("run_folds", list(range(folds))), 0, where)
    if max(run_folds) >= folds:
        raise InputError(f"run_folds must be below folds = {folds}, got {list(run_folds)}", where=where)
    labelled = _labelled_cases(given["labelled_cases"], given["protocol"], where)
    return Matrix(
        name=folder_name("name", given["name"], where),
        protocol=given["protocol"],
        dataset_dir=_dataset(path, given["dataset_dir"], where),
        sites=sites,
        sources=_sources(given, sites, where),
        targets=_targets(given, sites, where),
        folds=folds,
        run_folds=run_folds,
        seeds=integers("seeds", given["seeds"], 0, where),
        teachers=_networks("teachers", given["teachers"], path, where),
        students=_networks("students", given["students"], path, where),
        methods=read_methods(given["methods"], Context(given["protocol"], labelled, _RESERVED, path.parent, where)),
        controls=_controls(given["controls"], given["protocol"], where),
        settings=mapping("settings", given["settings"], where),
        labelled_cases=labelled,
        teacher_cache=yes_or_no("teacher_cache", given["teacher_cache"], where),
        gpus_per_cell=one_integer("gpus_per_cell", given["gpus_per_cell"], 1, where),
    )


def _file_name(path: Path, content: Mapping[str, Any], where: str) -> str:
    """Return what an experiment is called that says no name: as its file, which may be called as it likes otherwise."""
    if "name" in content:
        return ""
    if not is_folder_name(path.stem):
        raise InputError(
            "cannot be called as its file",
            where=where,
            remedy='add a "name" of letters, digits and . _ + -, starting with a letter or digit',
        )
    return path.stem


def _dataset(path: Path, value: Any, where: str) -> Path:
    if not isinstance(value, str):
        raise InputError(f"dataset_dir must be a path, got {value!r}", where=where)
    return (path.parent / Path(value).expanduser()).resolve()


def _targets(given: Mapping[str, Any], sites: tuple[str, ...], where: str) -> tuple[str, ...]:
    if len(sites) < 2:
        raise InputError(f"sites must be at least two, got {list(sites)}", where=where)
    targets = _of_sites("target", given.get("targets", list(sites)), sites, where)
    sources = _sources(given, sites, where)
    for target in targets:
        if sources == (target,):
            raise InputError(f"target {target!r} is the only source, where its teacher would learn", where=where)
    return targets


def _sources(given: Mapping[str, Any], sites: tuple[str, ...], where: str) -> tuple[str, ...]:
    return _of_sites("source", given.get("sources", list(sites)), sites, where)


def _of_sites(what: str, given: Any, sites: tuple[str, ...], where: str) -> tuple[str, ...]:
    names = folder_names(what, given, where)
    for name in names:
        if name not in sites:
            raise unknown_name(what, name, sites, where=f"of {where}")
    return names


def _networks(kind: str, given: Any, path: Path, where: str) -> tuple[Network, ...]:
    """Read ``["enet"]``, or ``{"small": {"bundle": "enet", "settings": {...}}}``; a bundle may be a folder."""
    role = kind.removesuffix("s")
    entries = given if isinstance(given, Mapping) else {name: {} for name in folder_names(role, given, where)}
    check_different(role, entries, where)
    networks = []
    for name, entry in entries.items():
        values = check_mapping(f"{role} {name!r} of {where}", entry, ("bundle", "settings", "adapt"))
        bundle = find_bundle(values.get("bundle", name), path.parent, f"in {kind} of {where}")
        settings = mapping(f"settings of {name!r}", values.get("settings", {}), where)
        adapt = mapping(f"adapt of {name!r}", values.get("adapt", {}), where)
        networks.append(Network(folder_name(role, name, where), bundle, settings, adapt))
    return tuple(networks)


def _labelled_cases(given: Any, protocol: Protocol, where: str) -> tuple[int | None, ...]:
    """Read ``[2, 4, null]``."""
    is_list = isinstance(given, list) and len(given) > 0
    if not is_list or len(set(map(repr, given))) != len(given):
        raise InputError(f"labelled_cases must be a list without repetition, got {given!r}", where=where)
    numbers = [count for count in given if count is not None]
    if numbers:
        integers("labelled_cases", numbers, 1, where)
    if numbers and protocol == "loso":
        raise InputError(
            "labelled_cases are of the target, whose labels nothing learns from under 'loso'",
            where=where,
            remedy="take labelled_cases away, or use the protocol 'cross_site'",
        )
    return tuple(given)


def _controls(given: Any, protocol: str, where: str) -> tuple[str, ...]:
    controls = () if given == [] else folder_names("control", given, where)
    for control in controls:
        if control not in CONTROLS[protocol]:
            raise unknown_name("control", control, CONTROLS[protocol], where=f"under protocol {protocol!r} of {where}")
    return controls
