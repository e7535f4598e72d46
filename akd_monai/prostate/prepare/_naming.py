# SPDX-License-Identifier: Apache-2.0
"""Names of prepared cases, ``SITE/CaseNN``: once given, a name stays with its raw case; names of sites are folders."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence

from akd_monai.data.manifest import UNLABELLED, Record
from akd_monai.errors import InputError
from akd_monai.prostate.prepare._sources import RawCase

__all__ = ["check_site_names", "name_cases", "site_problem"]

_MOST_LETTERS = 100
# Names that Windows keeps for devices, with any suffix.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_NO_FOLDER = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


def site_problem(name: str) -> str:
    """Return why a name cannot be that of a site's folder on every system, in words; empty if it can.

    Example:
        >>> site_problem("HK"), site_problem("unlabelled"), site_problem("a/b")
        ('', "'unlabelled' is the folder of cases without mask", "'a/b' cannot be the name of a folder")
    """
    if name.strip().lower() == UNLABELLED:
        return f"{name!r} is the folder of cases without mask"
    if not name.strip(" .") or name != name.strip() or name.startswith(".") or name.endswith("."):
        return f"{name!r} cannot be the name of a folder"
    if _NO_FOLDER.search(name) or _RESERVED.fullmatch(name):
        return f"{name!r} cannot be the name of a folder"
    if len(name) > _MOST_LETTERS:
        return f"the name of a site has at most {_MOST_LETTERS} letters, this one {len(name)}"
    return ""


def check_site_names(sites: Iterable[str]) -> None:
    """Raise ``InputError`` if two names of sites differ in upper and lower case alone: on many systems they are one folder.

    Example:
        >>> check_site_names(["HK", "hk"])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: the sites 'HK' and 'hk' differ in upper and lower case alone; give them one name.
    """
    seen: dict[str, str] = {}
    for site in sites:
        other = seen.setdefault(site.casefold(), site)
        if other != site:
            what = f"the sites {other!r} and {site!r} differ in upper and lower case alone"
            raise InputError(what, remedy="give them one name", code="same-site")


def name_cases(cases: Sequence[RawCase], records: Mapping[str, Record]) -> list[str]:
    """Name each case by its record, else as its source proposes, else by the next free number of its site.

    Args:
        cases: the cases of one source.
        records: what the manifest holds of all sources, by name.

    Raises:
        InputError: for a record that does not say which raw case it is.

    Example:
        >>> cases = [RawCase("folder", "LOCAL", patient, ()) for patient in ("a", "b")]
        >>> name_cases(cases, {"LOCAL/Case00": {"key": "folder/LOCAL/b"}})
        ['LOCAL/Case01', 'LOCAL/Case00']
    """
    owners = {name: _key_of(name, record) for name, record in records.items()}
    names = {identity: name for name, identity in owners.items()}
    fresh = [case for case in cases if case.identity not in names]
    # All proposals first, so that no case without one takes a number that another case should keep.
    for case in fresh:
        proposed = f"{case.site}/{case.case}"
        if case.case is not None and proposed not in owners:
            names[case.identity] = proposed
            owners[proposed] = case.identity
    for case in fresh:
        if case.identity not in names:
            free = _free_name(case.site, owners)
            names[case.identity] = free
            owners[free] = case.identity
    return [names[case.identity] for case in cases]


def _key_of(name: str, record: Record) -> str:
    key = record.get("key")
    if not isinstance(key, str):
        what = f"the manifest's record of {name} has no 'key' that tells which raw case it is"
        raise InputError(what, remedy="restore the manifest, or prepare into a new folder", code="manifest-record")
    return key


def _free_name(site: str, taken: Container[str]) -> str:
    number = 0
    while f"{site}/Case{number:02d}" in taken:
        number += 1
    return f"{site}/Case{number:02d}"
