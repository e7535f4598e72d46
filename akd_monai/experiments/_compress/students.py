# SPDX-License-Identifier: Apache-2.0
"""The bundles of a compression: the teacher's copy, and light students that fit it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle import new_bundle, write_bundle
from akd_monai.bundle._evaluation import evaluation_configs
from akd_monai.bundle._new_light import LIGHT
from akd_monai.bundle._new_teacher import read_teacher
from akd_monai.bundle._parts import part_names
from akd_monai.errors import InputError, unknown_name
from akd_monai.experiments._compress.request import Request
from akd_monai.experiments._compress.teaching import Teaching, same_task
from akd_monai.experiments._plan.bundles import put_bundle
from akd_monai.experiments._plan.commands import with_shape
from akd_monai.files import sha256_of

__all__ = ["TEACHER", "Student", "named_students", "put_students", "put_teacher"]

TEACHER = "teacher"
_WEIGHTS = Path("models", "model.pt")
_WIDTH = "network_def#width_multiplier"
# names on the command line, and the classes in slices
_SLICES = {"enet": "ENet", "espnet": "ESPNet", "erfnet": "ERFNet"}
_VOLUMES = ("UNet", "BasicUNet", "SegResNet")


@dataclass(frozen=True)
class Student:
    """A light network.

    Args:
        name: of its rows and folders.
        source: a part of this package, a bundle's folder, or a network of :func:`~akd_monai.bundle.new_bundle`.
        kind: which of these it is.
        width: its width multiplier.
    """

    name: str
    source: str
    kind: str
    width: float = 1.0


def named_students(request: Request, teaching: Teaching) -> list[Student]:
    """Return the students that are asked for, each with the ways in which its bundle is made.

    Raises:
        InputError: for a width of a network that has none, a student that takes another kind of image, or a name that
            comes twice or is the teacher's.
        UnknownNameError: for a student that is neither a network nor a bundle's folder.
    """
    dims = read_teacher(request.teacher).spatial_dims
    names = request.students or (tuple(_SLICES) if dims == 2 else _VOLUMES)
    students = []
    for name in names:
        source, kind = _source(request, teaching, name)
        short = Path(name).resolve().name if kind == "folder" else name.lower()
        if short == TEACHER:
            raise InputError(f"a student cannot be called {TEACHER!r}", where=name, remedy="rename its folder")
        for width in request.widths:
            if width != 1 and kind == "like" and source not in _SLICES.values():
                remedy = f"take {', '.join(_SLICES)}, or leave --widths out"
                raise InputError(f"{name} has no width_multiplier", remedy=remedy)
            students.append(Student(short if width == 1 else f"{short}-x{width:g}", source, kind, width))
    repeated = [one.name for one in students if sum(one.name == other.name for other in students) > 1]
    if repeated:
        raise InputError(f"students and widths must differ, got {repeated[0]!r} twice", remedy="name each once")
    return students


def _source(request: Request, teaching: Teaching, name: str) -> tuple[str, str]:
    lower = name.lower()
    if lower in _SLICES:
        fits = teaching.has_sites and lower in part_names() and _fits(request.teacher, lower)
        return (lower, "part") if fits else (_SLICES[lower], "like")
    for network in LIGHT:
        if lower == network.lower():
            return network, "like"
    if (Path(name) / "configs").is_dir():
        return str(Path(name).resolve()), "folder"
    raise unknown_name("student", name, (*_SLICES, *LIGHT), remedy="Give one of these, or the folder of a bundle")


def _fits(teacher: Path, part: str) -> bool:
    """Return whether a student of this package has the teacher's channels and classes."""
    with tempfile.TemporaryDirectory() as folder:
        return same_task(teacher, write_bundle(part, Path(folder) / part))


def put_teacher(request: Request, teaching: Teaching, root: Path) -> Path:
    """Write a copy of the teacher with its weights, so that nothing is written into its own folder.

    Raises:
        InputError: if the weights are others than those of an earlier run into this folder, or it cannot be evaluated.
    """
    evaluation_configs(request.teacher)
    settings = {} if teaching.spatial_size is None else {"spatial_size": list(teaching.spatial_size)}
    put_bundle(str(request.teacher.resolve()), with_shape(settings), root)
    copy = root / _WEIGHTS
    if not copy.is_file():
        copy.parent.mkdir(exist_ok=True)
        _link(request.weights, copy)
    elif sha256_of(copy) != sha256_of(request.weights):
        what = "the teacher's weights are others than those that this folder was begun with"
        raise InputError(what, where=str(root), remedy="choose another output_dir")
    return root


def _link(source: Path, target: Path) -> None:
    try:
        # a training that replaces the file leaves this name with the old one
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def put_students(request: Request, teaching: Teaching, student: Student, root: Path) -> None:
    """Write a student's bundle into ``root``, unless it is there.

    Raises:
        InputError: if the student cannot be made, or its settings have no effect.
    """
    settings: dict[str, Any] = dict(request.settings)
    if teaching.spatial_size is not None:
        settings["spatial_size"] = list(teaching.spatial_size)
    if student.width != 1 and student.kind != "like":
        settings[_WIDTH] = student.width
    if student.kind != "like":
        put_bundle(student.source, with_shape(settings), root)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = new_bundle(
            student.name.replace(".", "-"),
            student.source,
            bundles_dir=folder,
            like=request.teacher,
            network_args=_width(student),
            trust_bundle=request.trusted,
        )
        put_bundle(str(made), with_shape(settings), root)


def _width(student: Student) -> Mapping[str, Any] | None:
    return None if student.width == 1 else {"width_multiplier": student.width}
