# SPDX-License-Identifier: Apache-2.0
"""Algorithms of the affinity loss, entered through :func:`compute_affinity` by ``losses.functional.affinity`` alone."""

from __future__ import annotations

from akd_monai.losses._affinity.dispatch import compute_affinity
from akd_monai.losses._affinity.options import AffinityOptions

__all__ = ["AffinityOptions", "compute_affinity"]
