# SPDX-License-Identifier: Apache-2.0
"""Readers of raw prostate MRI, one a source, and the table that names them."""

from __future__ import annotations

from typing import Literal

from akd_monai.errors import unknown_name
from akd_monai.prostate.prepare._sources.base import CaseError, Listing, Pair, RawCase, Skipped, Source, Volume
from akd_monai.prostate.prepare._sources.decathlon import Decathlon
from akd_monai.prostate.prepare._sources.folder import Folder
from akd_monai.prostate.prepare._sources.i2cvb import I2cvb
from akd_monai.prostate.prepare._sources.nci_isbi import NciIsbi2013
from akd_monai.prostate.prepare._sources.promise12 import Promise12
from akd_monai.prostate.prepare._sources.prostate158 import Prostate158
from akd_monai.prostate.prepare._sources.six_site import SixSite

__all__ = [
    "SOURCES",
    "CaseError",
    "Listing",
    "Pair",
    "RawCase",
    "Skipped",
    "Source",
    "SourceName",
    "Volume",
    "get_source",
]

SourceName = Literal["nci-isbi-2013", "i2cvb", "promise12", "six-site", "decathlon", "prostate158", "folder"]

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (NciIsbi2013(), I2cvb(), Promise12(), SixSite(), Decathlon(), Prostate158(), Folder())
}


def get_source(name: str) -> Source:
    """Return the reader called ``name``.

    Raises:
        UnknownNameError: if there is none.

    Example:
        >>> get_source("promise12").layout
        'files Case00.mhd with Case00.raw, and Case00_segmentation.mhd'
    """
    if name not in SOURCES:
        raise unknown_name("source", name, SOURCES)
    return SOURCES[name]
