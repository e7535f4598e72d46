# SPDX-License-Identifier: Apache-2.0
"""Serve bundles with MONAI Label: segmentation, training and uncertainty for 3D Slicer and other viewers."""

from akd_monai.label.server import serve

__all__ = ["serve"]
