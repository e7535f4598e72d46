# SPDX-License-Identifier: Apache-2.0
"""Check what a user asks of prepare, before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from akd_monai.data.sites import SITES
from akd_monai.errors import InputError, unknown_name
from akd_monai.prostate.prepare._naming import site_problem
from akd_monai.prostate.prepare._sources import CaseError, RawCase, Source

__all__ = [
    "cases_of_site",
    "check_folders",
    "check_grid",
    "check_identities",
    "check_patients",
    "names_in",
    "with_site_problems",
]

_MIN_PIXELS = 8
_MIN_MM = 10


def check_folders(root: Path, target: Path) -> None:
    """Raise ``InputError`` unless the input folder exists and the output folder lies outside of it."""
    if not root.is_dir():
        raise InputError(f"the input folder {root} does not exist", remedy="give the folder that holds the raw files")
    if target.resolve() == root.resolve() or root.resolve() in target.resolve().parents:
        what = f"the output folder {target} lies in the input folder {root}"
        raise InputError(what, remedy="choose a folder outside of it")


def check_grid(size: Any, crop_mm: Any) -> None:
    """Raise ``InputError`` unless both are ``None`` or numbers large enough for a prostate."""
    _check_number("size", size, int)
    _check_number("crop_mm", crop_mm, (int, float))
    if size is not None and size < _MIN_PIXELS:
        what = f"size must be at least {_MIN_PIXELS} pixels, got {size}"
        raise InputError(what, remedy="leave it out to keep the acquired size")
    if crop_mm is not None and crop_mm < _MIN_MM:
        what = f"crop_mm must be at least {_MIN_MM} mm, got {crop_mm:g}"
        raise InputError(what, remedy="a prostate is 30 to 80 mm wide")


def _check_number(name: str, value: Any, kinds: type | tuple[type, ...]) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = "an integer" if kinds is int else "a number"
        raise InputError(f"{name} must be {wanted}, got {value!r}.")


def names_in(value: str | Collection[str]) -> tuple[str, ...]:
    """Return names given as a collection, or as one string with commas.

    Example:
        >>> names_in("a, b"), names_in(["a", "b"]), names_in("")
        (('a', 'b'), ('a', 'b'), ())
    """
    parts = value.split(",") if isinstance(value, str) else value
    names = [str(part).strip() for part in parts]
    return tuple(name for name in names if name)


def check_patients(flip_labels: Collection[str], cases: Sequence[RawCase]) -> None:
    """Raise ``UnknownNameError`` if ``flip_labels`` names a patient who is not among the cases."""
    known = sorted({case.patient_id for case in cases})
    for patient in flip_labels:
        if patient not in known:
            raise unknown_name("patient ID", patient, known, where="in flip_labels")


def cases_of_site(reader: Source, cases: list[RawCase], site: str | None) -> list[RawCase]:
    """Return the cases of one site; all of them if none is asked for, or if the source lets the user name its site.

    Raises:
        InputError: for a name that cannot be the name of a site's folder.
        UnknownNameError: if there is no case of the site.
    """
    if site is None:
        return cases
    wanted = str(site)
    if not wanted.replace("-", "").replace("_", "").isalnum():
        what = f"the name of a site holds letters, digits, '-' and '_' only, got {wanted!r}"
        raise InputError(what, remedy="choose another name")
    if site_problem(wanted):
        raise InputError(site_problem(wanted), where="site", remedy="choose another name")
    if not reader.sites:
        return cases
    known = sorted({case.site for case in cases})
    chosen = _known_site(wanted, known)
    if chosen is None:
        raise unknown_name("site", wanted, known, where=f"of source '{reader.name}' in this folder")
    return [case for case in cases if case.site == chosen]


def _known_site(wanted: str, known: Sequence[str]) -> str | None:
    names = {name.upper(): name for name in known}
    for site in SITES:
        if site.name in known:
            names[site.code] = site.name
    return names.get(wanted.upper())


def with_site_problems(cases: Sequence[RawCase]) -> list[RawCase]:
    """Return the cases; those whose site, taken from the name of a folder, cannot be written get that as their problem."""
    return [_with_site_problem(case) for case in cases]


def _with_site_problem(case: RawCase) -> RawCase:
    what = site_problem(case.site)
    if not what or case.problem is not None:
        return case
    problem = CaseError(what, remedy="rename the folder of the site", code="site-name")
    return replace(case, problem=problem)


def check_identities(cases: Sequence[RawCase]) -> None:
    """Raise ``InputError`` if two cases of a source claim to be one scan, of which one would overwrite the other.

    Upper and lower case do not tell two cases apart, as they do not tell two files apart everywhere.
    """
    seen: dict[str, RawCase] = {}
    for case in cases:
        other = seen.setdefault(case.identity.casefold(), case)
        if other is not case:
            what = f"{other.images[0]} and {case.images[0]} are one case of source '{case.source}' by their names"
            raise InputError(
                what, remedy="prepare them from separate folders, or keep one of the two", code="same-case"
            )
