# SPDX-License-Identifier: Apache-2.0
"""Exported networks, and masks from them without PyTorch.

Names are looked up when they are first used: ``segment`` on ONNX Runtime or OpenVINO imports neither torch nor MONAI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from akd_monai._lazy import lazy_names

if TYPE_CHECKING:
    from akd_monai.deploy.export import Export, export_bundle
    from akd_monai.deploy.exported_network import ExportedNetwork
    from akd_monai.deploy.profile import profile_segmentation
    from akd_monai.deploy.reduced import ReducedExport, Trial, export_reduced
    from akd_monai.deploy.segmentation import SegmentedVolume, segment

_HOMES = {
    "Export": "export",
    "ExportedNetwork": "exported_network",
    "ReducedExport": "reduced",
    "Trial": "reduced",
    "export_bundle": "export",
    "export_reduced": "reduced",
    "profile_segmentation": "profile",
    "SegmentedVolume": "segmentation",
    "segment": "segmentation",
}

__all__ = [
    "Export",
    "ExportedNetwork",
    "ReducedExport",
    "SegmentedVolume",
    "Trial",
    "export_bundle",
    "export_reduced",
    "profile_segmentation",
    "segment",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
