# SPDX-License-Identifier: Apache-2.0
"""Data: the table of sites, lists of cases, splits, slices for training, and synthetic sites.

Names are looked up when they are first used, so that ``import akd_monai.data`` loads neither torch nor MONAI.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akd_monai.data.batch_affine import BatchAffine
    from akd_monai.data.cases import read_cases
    from akd_monai.data.mask_writer import VolumeWriter
    from akd_monai.data.phantom import make_phantom
    from akd_monai.data.protocols import protocol_splits, write_protocol_splits
    from akd_monai.data.sampler import KeyedSampler
    from akd_monai.data.sites import SITES, Site, site
    from akd_monai.data.slice_loader import SliceLoader
    from akd_monai.data.slice_store import SliceStore
    from akd_monai.data.slices import SliceDataset
    from akd_monai.data.splits import datalist, split_cases, split_summary, write_splits
    from akd_monai.data.volumes import fingerprint, input_volumes, require_volumes

_HOMES = {
    "BatchAffine": "batch_affine",
    "read_cases": "cases",
    "VolumeWriter": "mask_writer",
    "make_phantom": "phantom",
    "KeyedSampler": "sampler",
    "SITES": "sites",
    "Site": "sites",
    "site": "sites",
    "protocol_splits": "protocols",
    "write_protocol_splits": "protocols",
    "SliceDataset": "slices",
    "SliceLoader": "slice_loader",
    "SliceStore": "slice_store",
    "datalist": "splits",
    "split_cases": "splits",
    "split_summary": "splits",
    "write_splits": "splits",
    "fingerprint": "volumes",
    "input_volumes": "volumes",
    "require_volumes": "volumes",
}

__all__ = [
    "SITES",
    "BatchAffine",
    "KeyedSampler",
    "Site",
    "SliceDataset",
    "SliceLoader",
    "SliceStore",
    "VolumeWriter",
    "datalist",
    "fingerprint",
    "input_volumes",
    "make_phantom",
    "protocol_splits",
    "read_cases",
    "require_volumes",
    "site",
    "split_cases",
    "split_summary",
    "write_protocol_splits",
    "write_splits",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
