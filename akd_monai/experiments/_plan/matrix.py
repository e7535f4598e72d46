# SPDX-License-Identifier: Apache-2.0
"""The file of an experiment: which protocol, sites, folds, networks, methods and seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from akd_monai.data import SITES
from akd_monai.data.protocols import Protocol
from akd_monai.errors import InputError, check_choice, check_mapping, unknown_name
from akd_monai.experiments._plan.bundles import find_bundle, is_new_term
from akd_monai.files import as_path, read_json

__all__ = ["CONTROLS", "TERMS", "Matrix", "Method", "Network", "read_matrix"]

TERMS = ("logits", "gram", "affinity")
# which controls each protocol allows: leave one site out never touches the labels of the target
CONTROLS: dict[str, tuple[str, ...]] = {
    "cross_site": ("teacher_zero_shot", "teacher_own_sites", "teacher_at_target", "pretrained", "joint"),
    "loso": ("teacher_zero_shot", "teacher_own_sites"),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Network:
    """A teacher or student: a network part of this package or a bundle's folder, and config ids that are changed in it."""

    name: str
    bundle: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to distil: the terms that have a weight, and config ids of the distillation."""

    name: str
    terms: tuple[str, ...] = TERMS
    settings: dict[str, Any] = field(default_factory=dict)


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
    teacher_cache: bool
    gpus_per_cell: int


_DEFAULTS: dict[str, Any] = {
    "protocol": "cross_site",
    "sites": [site.name for site in SITES],
    "folds": 4,
    "seeds": [0],
    "methods": {"distilled": {}},
    "controls": ["teacher_zero_shot"],
    "settings": {},
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
    given = {**_DEFAULTS, "name": path.stem, **check_mapping(where, read_json(path), known)}
    if dataset_dir is not None:
        given["dataset_dir"] = str(as_path(dataset_dir, "dataset_dir").resolve())
    for name in ("dataset_dir", "teachers", "students"):
        if not given.get(name):
            flag = ", or give --dataset_dir" if name == "dataset_dir" else ""
            raise InputError(f"has no {name}", where=where, remedy=f"add {name!r}{flag}")
    check_choice(f"protocol of {where}", given["protocol"], get_args(Protocol))
    sites = _names("site", given["sites"], where)
    is_loso = given["protocol"] == "loso"
    folds = 1 if is_loso else _integers("folds", [given["folds"]], 2, where)[0]
    run_folds = _integers("run_folds", given.get("run_folds", list(range(folds))), 0, where)
    if max(run_folds) >= folds:
        raise InputError(f"run_folds must be below folds = {folds}, got {list(run_folds)}", where=where)
    return Matrix(
        name=_name("name", given["name"], where),
        protocol=given["protocol"],
        dataset_dir=_dataset(path, given["dataset_dir"], where),
        sites=sites,
        sources=_sources(given, sites, where),
        targets=_targets(given, sites, where),
        folds=folds,
        run_folds=run_folds,
        seeds=_integers("seeds", given["seeds"], 0, where),
        teachers=_networks("teachers", given["teachers"], path, where),
        students=_networks("students", given["students"], path, where),
        methods=_methods(given["methods"], where),
        controls=_controls(given["controls"], given["protocol"], where),
        settings=_object("settings", given["settings"], where),
        teacher_cache=_yes_or_no("teacher_cache", given["teacher_cache"], where),
        gpus_per_cell=_integers("gpus_per_cell", [given["gpus_per_cell"]], 1, where)[0],
    )


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
    names = _names(what, given, where)
    for name in names:
        if name not in sites:
            raise unknown_name(what, name, sites, where=f"of {where}")
    return names


def _networks(kind: str, given: Any, path: Path, where: str) -> tuple[Network, ...]:
    """Read ``["enet"]``, or ``{"small": {"bundle": "enet", "settings": {...}}}``; a bundle may be a folder."""
    entries = given if isinstance(given, Mapping) else {name: {} for name in _names(kind, given, where)}
    networks = []
    for name, entry in entries.items():
        values = check_mapping(f"{kind} {name!r} of {where}", entry, ("bundle", "settings"))
        bundle = find_bundle(values.get("bundle", name), path.parent, f"in {kind} of {where}")
        settings = _object(f"settings of {name!r}", values.get("settings", {}), where)
        networks.append(Network(_name(kind, name, where), bundle, settings))
    return tuple(networks)


def _methods(given: Any, where: str) -> tuple[Method, ...]:
    methods = []
    for name, entry in _object("methods", given, where).items():
        values = check_mapping(f"method {name!r} of {where}", entry, ("terms", "settings"))
        listed = values.get("terms", list(TERMS))
        terms = () if listed == [] else _names("term", listed, where)
        for term in terms:
            if term not in TERMS:
                raise unknown_name("term", term, TERMS, where=f"of method {name!r}")
        if name in ("without", *CONTROLS["cross_site"]):
            raise InputError(f"a method cannot be called {name!r}, which is a control", where=where)
        settings = _object(f"settings of {name!r}", values.get("settings", {}), where)
        if not terms and not any(is_new_term(*entry) for entry in settings.items()):
            raise InputError(f"method {name!r} has no term", where=where, remedy=f"name one of {', '.join(TERMS)}")
        methods.append(Method(_name("method", name, where), terms, settings))
    return tuple(methods)


def _controls(given: Any, protocol: str, where: str) -> tuple[str, ...]:
    controls = _names("control", given, where) if given else ()
    for control in controls:
        if control not in CONTROLS[protocol]:
            raise unknown_name("control", control, CONTROLS[protocol], where=f"under protocol {protocol!r} of {where}")
    return controls


def _object(what: str, given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be an object, got {given!r}", where=where)
    return dict(given)


def _yes_or_no(what: str, given: Any, where: str) -> bool:
    if not isinstance(given, bool):
        raise InputError(f"{what} must be true or false, got {given!r}", where=where)
    return given


def _name(what: str, name: Any, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} cannot be the name of a folder",
            where=where,
            remedy="use letters, digits and . _ + -, starting with a letter or digit",
        )
    return name


def _names(what: str, given: Any, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or len(set(map(str, given))) != len(given):
        raise InputError(f"the {what} names must be a list without repetition, got {given!r}", where=where)
    return tuple(_name(what, name, where) for name in given)


def _integers(what: str, given: Any, least: int, where: str) -> tuple[int, ...]:
    is_list = isinstance(given, list) and len(given) > 0
    if not is_list or not all(type(n) is int and n >= least for n in given) or len(set(given)) != len(given):
        raise InputError(f"{what} must be different integers of at least {least}, got {given!r}", where=where)
    return tuple(given)
