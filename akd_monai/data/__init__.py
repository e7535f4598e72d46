# SPDX-License-Identifier: Apache-2.0
"""Data: the table of sites, lists of cases, splits, slices for training.

Names are looked up when they are first used, so that ``import akd_monai.data`` loads neither torch nor MONAI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from akd_monai._lazy import lazy_names

if TYPE_CHECKING:
    from akd_monai.data.cases import fingerprint, read_cases
    from akd_monai.data.check_prediction import CheckPredictiond
    from akd_monai.data.check_volumes import CheckVolumesd
    from akd_monai.data.identified import IdentifiedSlices
    from akd_monai.data.images import unlabelled_images
    from akd_monai.data.mask_layout import MaskLayout
    from akd_monai.data.protocols import protocol_splits, write_protocol_splits
    from akd_monai.data.reader import CheckedReader
    from akd_monai.data.sampler import KeyedSampler
    from akd_monai.data.sites import SITES, Site, site
    from akd_monai.data.slices import SliceDataset
    from akd_monai.data.splits import datalist, split_cases, split_summary, write_splits
    from akd_monai.data.volume_stream import VolumeStream
    from akd_monai.data.volumes import input_volumes, require_volumes
    from akd_monai.data.writer import VolumeWriter

_HOMES = {
    "CheckPredictiond": "check_prediction",
    "CheckVolumesd": "check_volumes",
    "CheckedReader": "reader",
    "read_cases": "cases",
    "MaskLayout": "mask_layout",
    "VolumeStream": "volume_stream",
    "VolumeWriter": "writer",
    "IdentifiedSlices": "identified",
    "unlabelled_images": "images",
    "KeyedSampler": "sampler",
    "SITES": "sites",
    "Site": "sites",
    "site": "sites",
    "protocol_splits": "protocols",
    "write_protocol_splits": "protocols",
    "SliceDataset": "slices",
    "datalist": "splits",
    "split_cases": "splits",
    "split_summary": "splits",
    "write_splits": "splits",
    "fingerprint": "cases",
    "input_volumes": "volumes",
    "require_volumes": "volumes",
}

__all__ = [
    "SITES",
    "CheckPredictiond",
    "CheckVolumesd",
    "CheckedReader",
    "IdentifiedSlices",
    "KeyedSampler",
    "MaskLayout",
    "Site",
    "SliceDataset",
    "VolumeStream",
    "VolumeWriter",
    "datalist",
    "fingerprint",
    "input_volumes",
    "protocol_splits",
    "read_cases",
    "require_volumes",
    "site",
    "split_cases",
    "split_summary",
    "unlabelled_images",
    "write_protocol_splits",
    "write_splits",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
