# SPDX-License-Identifier: Apache-2.0
"""Which channels of a teacher make up each class of a student."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_monai.bundle._class_names import class_count, class_names, folded
from akd_monai.bundle._class_table import find_class, parse_table
from akd_monai.bundle.outputs import output_activation
from akd_monai.errors import InputError
from akd_monai.losses import Activation
from akd_monai.teachers import TeacherOutput

__all__ = ["teacher_classes"]

logger = logging.getLogger(__name__)

_MOST_NAMED = 8


@dataclass(frozen=True)
class _Classes:
    bundle: str
    whose: str
    names: list[str] | None
    count: int

    def name(self, channel: int) -> str:
        return self.names[channel] if self.names else f"channel {channel}"


def teacher_classes(
    teacher: str | Path | Sequence[str | Path],
    student: str | Path,
    table: str | Mapping[str, Any] | None = None,
    *,
    activation: Activation | None = None,
    allow: Collection[str] = (),
) -> list[Any] | None:
    """Return for each class of the student the teacher's channels that make it up; ``None`` if both are alike.

    Names are those of ``channel_def`` in ``metadata.json``; upper and lower case, ``_`` and ``-`` make no difference.

    Without a table the two must have the same names, in any order. Where one of them names no class for each channel, an
    equal number is taken for the same classes, with a warning.

    With a table, a class that it names is made of what it lists. Any other class of the student is the teacher's class of
    that name; if there is none, the class must stand in the table. Under softmax every class of the teacher must be used
    once: what the student does not know belongs to one of its classes, as a rule the background
    (``background=background+liver``). Sigmoid channels may be left out, but not merged.

    Args:
        teacher: the teacher's folder; for those of several teachers a list is returned with what this function gives for
            each, ``None`` if all are alike.
        student: the student's folder.
        table: ``"gland=transition zone+peripheral zone"``, with names or numbers of channels, or a mapping of that kind.
        activation: how the teacher's logits become probabilities; read from its configs by default, if a table is given.
        allow: with ``"classes"`` in it, equally many classes of other names are taken as they are, with a warning.

    Raises:
        InputError: if the classes do not fit, naming those that do not.
        UnknownNameError: if the table names a class that does not exist.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import assemble_bundles
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pair = assemble_bundles(["unetplusplus", "enet"], bundles_dir=folder)
        ...     teacher_classes(*pair), teacher_classes(*pair, "0=1, 1=0")
        (None, [[1], [0]])
    """
    if not isinstance(teacher, str | Path):
        each = [teacher_classes(one, student, table, activation=activation, allow=allow) for one in teacher]
        return None if all(found is None for found in each) else each
    if table is None and Path(teacher).resolve() == Path(student).resolve():
        # an average of the student
        return None
    theirs = _Classes(str(teacher), "teacher", class_names(teacher), class_count(teacher))
    ours = _Classes(str(student), "student", class_names(student), class_count(student))
    if table is None:
        return _by_name(theirs, ours, "classes" in allow)
    found = _by_table(theirs, ours, parse_table(table))
    _check_complete(theirs, found, activation or output_activation(teacher))
    return found


def _by_name(theirs: _Classes, ours: _Classes, is_allowed: bool) -> list[list[int]] | None:
    if theirs.names is None or ours.names is None:
        _check_count(theirs, ours)
        return None
    names_of_theirs = [folded(name) for name in theirs.names]
    names_of_ours = [folded(name) for name in ours.names]
    if names_of_theirs == names_of_ours:
        return None
    if set(names_of_theirs) == set(names_of_ours):
        logger.info(
            "The teacher's classes stand in another order; they are matched by name: %s.", _listed(theirs.names)
        )
        return [[names_of_theirs.index(name)] for name in names_of_ours]
    if is_allowed and theirs.count == ours.count:
        logger.warning("%s; they are taken for one another in their order, as allowed.", _difference(theirs, ours))
        return None
    raise InputError(_difference(theirs, ours), remedy=_remedy(theirs, ours), code="classes")


def _check_count(theirs: _Classes, ours: _Classes) -> None:
    unnamed = " and the ".join(each.whose for each in (theirs, ours) if each.names is None)
    if theirs.count != ours.count:
        what = f"the teacher has {theirs.count} classes, the student {ours.count}"
        remedy = 'say what is what by numbers of channels: --classes "0=0+2, 1=1" (student=teacher)'
        raise InputError(f"{what}, and the metadata of the {unnamed} does not name them", remedy=remedy, code="classes")
    logger.warning(
        "The metadata of the %s names no class for each of the %s channels; they are taken to be the same in both.",
        unnamed,
        ours.count,
    )


def _difference(theirs: _Classes, ours: _Classes) -> str:
    return f"the teacher's classes are {_listed(theirs.names)}, the student's {_listed(ours.names)}"


def _remedy(theirs: _Classes, ours: _Classes) -> str:
    known = {folded(name) for name in theirs.names or ()}
    missing = [name for name in ours.names or () if folded(name) not in known]
    if missing:
        text = (
            f'say by --classes which of the teacher\'s make up {_listed(missing)}, such as "{missing[0]}=one+another"'
        )
        same_count = theirs.count == ours.count
        return f"{text}, or pass --allow classes if they are the same under other names" if same_count else text
    return _remedy_of_subset(theirs, ours.names or [])


def _remedy_of_subset(theirs: _Classes, names: Sequence[str]) -> str:
    known = {folded(name) for name in names}
    if "background" not in known:
        return f'say by --classes what is wanted of sigmoid channels, which may be left out: "{names[0]}={names[0]}"'
    background = next(name for name in names if folded(name) == "background")
    left = [name for name in theirs.names or () if folded(name) not in known]
    return f'say by --classes where the others belong, such as "{background}={"+".join([background, *left[:3]])}"'


def _by_table(theirs: _Classes, ours: _Classes, table: Mapping[str, Sequence[str]]) -> list[list[int]]:
    given: dict[int, list[int]] = {}
    for name, members in table.items():
        channel = find_class(name, ours.names, ours.count, ours.whose)
        if channel in given:
            raise InputError(f"the table of classes names {ours.name(channel)!r} twice", remedy="join its parts with +")
        given[channel] = [find_class(member, theirs.names, theirs.count, theirs.whose) for member in members]
    found = [given.get(channel) or _of_same_name(theirs, ours, channel) for channel in range(ours.count)]
    _check_once(theirs, ours, found)
    return found


def _of_same_name(theirs: _Classes, ours: _Classes, channel: int) -> list[int]:
    known = [folded(name) for name in theirs.names or ()]
    wanted = folded(ours.name(channel))
    if ours.names is None or wanted not in known:
        what = f"the student's {ours.name(channel)!r} is not in the table of classes, and no class of the teacher's"
        raise InputError(
            f"{what} has this name ({_listed(theirs.names) if theirs.names else f'{theirs.count} without names'})",
            remedy=f'add what it is made of, such as "{channel if ours.names is None else ours.name(channel)}=..."',
            code="classes",
        )
    return [known.index(wanted)]


def _check_once(theirs: _Classes, ours: _Classes, found: Sequence[Sequence[int]]) -> None:
    place: dict[int, int] = {}
    for channel, members in enumerate(found):
        for member in members:
            if member in place:
                twice = f"{ours.name(place[member])!r} and {ours.name(channel)!r}"
                what = f"the teacher's {theirs.name(member)!r} is a part of the student's {twice}"
                raise InputError(what, remedy="give each class of the teacher one place in --classes", code="classes")
            place[member] = channel


def _check_complete(theirs: _Classes, found: list[list[int]], activation: Activation) -> None:
    # says what cannot be merged, in the words of the class that will merge
    TeacherOutput(classes=found, activation=activation)
    used = {member for members in found for member in members}
    left = [theirs.name(channel) for channel in range(theirs.count) if channel not in used]
    if left and activation == "softmax":
        raise InputError(
            f"the table of classes gives no place to the teacher's {_listed(left)}, whose probability must belong to a "
            "class of the student",
            remedy=f'add them to one, as a rule the background: "background=background+{"+".join(left[:3])}"',
            code="classes",
        )


def _listed(names: Sequence[str] | None) -> str:
    names = names or []
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown
