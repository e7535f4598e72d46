# SPDX-License-Identifier: Apache-2.0
"""Names of prepared cases, ``SITE/CaseNN``: once given, a name stays with its raw case."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from akd_monai.data.manifest import Record
from akd_monai.prostate.prepare._sources import RawCase

__all__ = ["name_cases"]


def name_cases(cases: Sequence[RawCase], records: Mapping[str, Record]) -> list[str]:
    """Name each case by its record, else as its source proposes, else by the next free number of its site.

    Args:
        cases: the cases of one source.
        records: what the manifest holds of all sources, by name.

    Example:
        >>> cases = [RawCase("folder", "LOCAL", patient, ()) for patient in ("a", "b")]
        >>> name_cases(cases, {"LOCAL/Case00": {"key": "folder/LOCAL/b"}})
        ['LOCAL/Case01', 'LOCAL/Case00']
    """
    owners = {name: record["key"] for name, record in records.items()}
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


def _free_name(site: str, taken: Container[str]) -> str:
    number = 0
    while f"{site}/Case{number:02d}" in taken:
        number += 1
    return f"{site}/Case{number:02d}"
