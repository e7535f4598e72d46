# SPDX-License-Identifier: Apache-2.0
"""Synthetic prostate MRI of six sites, drawn without any patient's data."""

from __future__ import annotations

from akd_monai.prostate.phantom._acquisition import ACQUISITIONS, Acquisition
from akd_monai.prostate.phantom.case import PHANTOM_VERSION, make_case
from akd_monai.prostate.phantom.make import make_phantom

__all__ = ["ACQUISITIONS", "PHANTOM_VERSION", "Acquisition", "make_case", "make_phantom"]
