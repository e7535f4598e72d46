# SPDX-License-Identifier: Apache-2.0
"""Bring raw prostate MRI into the six-site layout."""

from akd_monai.prostate.prepare.run import prepare

__all__ = ["prepare"]
