# SPDX-License-Identifier: Apache-2.0
"""The six sites of the public multi-site prostate set, in the order in which results are printed."""

from __future__ import annotations

from dataclasses import dataclass

from akd_monai.errors import unknown_name

__all__ = ["SITES", "Site", "site"]


@dataclass(frozen=True)
class Site:
    """One site: its scanner and how its scans are sampled. Ranges are (lowest, highest).

    Args:
        code: position in tables, S1 to S6.
        name: name of the site's folder.
        source: collection the scans come from.
        cases: number of scans.
        field_strength_t: field strengths in use, tesla.
        in_plane_mm: pixel size, mm.
        through_plane_mm: distance between slices, mm.
        coil: ``"surface"``, ``"endorectal"`` or ``"none"`` (no endorectal coil; kind of coil not stated).
        vendor: maker of the scanner.
    """

    code: str
    name: str
    source: str
    cases: int
    field_strength_t: tuple[float, ...]
    in_plane_mm: tuple[float, float]
    through_plane_mm: tuple[float, float]
    coil: str
    vendor: str


# An explicit order: sorting folder names gives another one, and published tables would be mixed up.
SITES: tuple[Site, ...] = (
    Site("S1", "RUNMC", "NCI-ISBI 2013", 30, (3.0,), (0.6, 0.625), (3.6, 4.0), "surface", "Siemens"),
    Site("S2", "BMC", "NCI-ISBI 2013", 30, (1.5,), (0.4, 0.4), (3.0, 3.0), "endorectal", "Philips"),
    Site("S3", "I2CVB", "I2CVB", 19, (3.0,), (0.67, 0.79), (1.25, 1.25), "none", "Siemens"),
    Site("S4", "UCL", "PROMISE12", 13, (1.5, 3.0), (0.325, 0.625), (3.0, 3.6), "none", "Siemens"),
    Site("S5", "BIDMC", "PROMISE12", 12, (3.0,), (0.25, 0.25), (2.2, 3.0), "endorectal", "GE"),
    Site("S6", "HK", "PROMISE12", 12, (1.5,), (0.625, 0.625), (3.6, 3.6), "endorectal", "Siemens"),
)


def site(name_or_code: str) -> Site:
    """Return the site of a folder name or a code, upper or lower case.

    Raises:
        UnknownNameError: if there is no such site.

    Example:
        >>> site("hk").code, site("S3").name
        ('S6', 'I2CVB')

    Source: Liu et al., "Shape-aware Meta-learning for Generalizing Prostate MRI Segmentation to Unseen Domains",
        MICCAI 2020, arXiv:2007.02035, table of the data set.
    """
    wanted = str(name_or_code).strip().upper()
    for entry in SITES:
        if wanted in (entry.name, entry.code):
            return entry
    known = [word for entry in SITES for word in (entry.code, entry.name)]
    raise unknown_name("site", name_or_code, known)
