# SPDX-License-Identifier: Apache-2.0
"""The site of each sample of a data set, and of each image of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from akd_monai.data._site_splits import site_of
from akd_monai.data.cases import Case
from akd_monai.errors import InputError
from akd_monai.names import case_name, case_names

__all__ = ["batch_sites", "check_sites", "least_sites", "sample_sites", "sites_by_case"]

# of which their trainers refuse fewer, with the settings of their files
_LEAST = {"disentangle": 2, "mixstyle": 2, "saml": 3}
_REMEDY = "give each entry of the data set's list 'site', as akd_monai.data.datalist does"


def sample_sites(dataset: Any) -> list[str]:
    """Return the site of each sample: of the cases of a data set of slices, else of the entries of ``dataset.data``.

    Raises:
        InputError: if the data set has no list of cases, or a case names no site.

    Example:
        >>> class Listed:
        ...     data = [{"site": "HK"}, {"site": "BMC"}]
        ...     slices = [(0, 3), (0, 4), (1, 0)]
        >>> sample_sites(Listed())
        ['HK', 'HK', 'BMC']
    """
    sites = [site_of(case) for case in _cases(dataset)]
    slices = getattr(dataset, "slices", None)
    if slices is None:
        return sites
    return [sites[case] for case, _ in slices]


def sites_by_case(dataset: Any) -> dict[str, str]:
    """Return the site of each case by its name."""
    return {case_name(case): site_of(case) for case in _cases(dataset)}


def batch_sites(batch: Any, known: Mapping[str, str]) -> list[str]:
    """Return the site of each image of a batch: its entry ``"site"``, else by the names of its cases.

    Args:
        batch: a collated batch.
        known: the site of each case by its name.

    Raises:
        InputError: if the batch names neither, or a case that is not known.

    Example:
        >>> batch_sites({"case_id": ["a", "b"]}, {"a": "HK", "b": "BMC"})
        ['HK', 'BMC']
    """
    if isinstance(batch, Mapping) and "site" in batch:
        return [str(site) for site in batch["site"]]
    names = case_names(batch)
    unknown = [name for name in names if name not in known]
    if not names or unknown:
        what = (
            f"has case {unknown[0]!r}, which the data set does not list" if unknown else "names neither site nor case"
        )
        raise InputError(f"a batch {what}", remedy="let each item of the data set hold 'site', a string")
    return [known[name] for name in names]


def check_sites(sites: Sequence[str], wanted: int, method: str) -> None:
    """Raise ``InputError`` unless there are at least ``wanted`` different sites.

    Example:
        >>> check_sites(["HK", "BMC", "HK"], 3, "SAML")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: SAML needs training cases of at least 3 sites, got 2 (BMC, HK); name more ...
    """
    found = sorted(set(sites))
    if len(found) < wanted:
        raise InputError(
            f"{method} needs training cases of at least {wanted} sites, got {len(found)} ({', '.join(found)})",
            remedy="name more source sites under sites, or train without it",
        )


def least_sites(baseline: str) -> int:
    """Return from how many source sites a baseline, by its name, can learn.

    Example:
        >>> least_sites("saml"), least_sites("bigaug")
        (3, 1)
    """
    return _LEAST.get(baseline, 1)


def _cases(dataset: Any) -> Sequence[Case]:
    cases = getattr(dataset, "data", None)
    if not isinstance(cases, Sequence) or not all(isinstance(case, Mapping) for case in cases):
        raise InputError(f"a {type(dataset).__name__} does not say which site a sample is of", remedy=_REMEDY)
    return cases
