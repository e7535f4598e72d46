# SPDX-License-Identifier: Apache-2.0
"""What the steps of an exported model have in common: their arguments are plain values, read and checked one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from numpy.typing import NDArray

from akd_monai.data.geometry import Array
from akd_monai.errors import InputError, one_line

__all__ = ["ANYTHING", "NOT_EXPORTABLE", "Grid", "Step", "Volume", "read_step", "written_step"]

NOT_EXPORTABLE = "not-exportable"


class _Anything:
    """Holds every value: for arguments that change no value of the result."""

    def __contains__(self, value: object) -> bool:
        return True


ANYTHING = _Anything()


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: spatial sizes, and the affine in mm, RAS."""

    shape: tuple[int, ...]
    affine: Array


@dataclass(frozen=True)
class Volume:
    """Voxels ``[C, X, Y, Z]`` in float32, and their affine."""

    array: NDArray[Any]
    affine: Array

    @property
    def grid(self) -> Grid:
        """Return where the voxels lie."""
        return Grid(self.array.shape[1:], self.affine)


@dataclass(frozen=True)
class Step:
    """A transform or an inferer under its name in MONAI; its fields are the arguments that it takes.

    Attributes:
        accepted: further arguments of MONAI's class, each with the values under which the result is the same.
    """

    accepted: ClassVar[Mapping[str, Any]] = {}


_Kind = TypeVar("_Kind", bound=Step)


def read_step(kinds: Mapping[str, type[_Kind]], name: str, arguments: Mapping[str, Any], where: str) -> _Kind:
    """Return the step that a transform of MONAI is.

    Args:
        kinds: the steps by their names.
        name: the name of MONAI's class for arrays, such as ``"Resize"``.
        arguments: its arguments, plain values.
        where: what holds it, for messages.

    Raises:
        InputError: with code ``"not-exportable"``, naming the transform and the argument that is not covered.
    """
    if name not in kinds:
        what = f"has {name}, which cannot run without PyTorch"
        remedy = f"known are {', '.join(sorted(kinds))}; run this bundle by python -m monai.bundle run"
        raise InputError(what, where=where, remedy=remedy, code=NOT_EXPORTABLE)
    kind = kinds[name]
    known = {field.name for field in dataclasses.fields(kind)}
    values = {}
    for key, value in arguments.items():
        plain = tuple(value) if isinstance(value, list) else value
        if key in known:
            values[key] = plain
        elif plain not in kind.accepted.get(key, ()):
            what = f"has {name} with {key} = {value!r}, which cannot run without PyTorch"
            raise InputError(what, where=where, remedy=_values_of(kind, key), code=NOT_EXPORTABLE)
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        what = f"has {name} with arguments that do not fit ({one_line(error)})"
        raise InputError(what, where=where, remedy="correct them", code=NOT_EXPORTABLE) from error


def _values_of(kind: type[Step], key: str) -> str:
    values = kind.accepted.get(key)
    if values is None:
        return "leave it out"
    return f"covered are {', '.join(map(repr, values))}"


def written_step(step: Step) -> dict[str, Any]:
    """Return a step as JSON holds it: its name and its arguments.

    Example:
        >>> written_step(Step())
        {'name': 'Step'}
    """
    return {"name": type(step).__name__, **dataclasses.asdict(step)}
