# SPDX-License-Identifier: Apache-2.0
"""Readers of raw prostate MRI, one a source, and the table that names them."""

from __future__ import annotations

from akd_monai.errors import UnknownNameError, near_matches
from akd_monai.prostate.prepare.sources.base import CaseError, Pair, RawCase, Scan, Source, Volume
from akd_monai.prostate.prepare.sources.decathlon import Decathlon
from akd_monai.prostate.prepare.sources.folder import Folder
from akd_monai.prostate.prepare.sources.i2cvb import I2cvb
from akd_monai.prostate.prepare.sources.nci_isbi import NciIsbi2013
from akd_monai.prostate.prepare.sources.promise12 import Promise12
from akd_monai.prostate.prepare.sources.prostate158 import Prostate158
from akd_monai.prostate.prepare.sources.six_site import SixSite

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
        raise UnknownNameError(
            f"no source is called {name!r}; there are {', '.join(SOURCES)}.{near_matches(name, SOURCES)}"
        )
    return SOURCES[name]


__all__ = ["SOURCES", "CaseError", "Pair", "RawCase", "Scan", "Source", "Volume", "get_source"]
