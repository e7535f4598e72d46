# SPDX-License-Identifier: Apache-2.0
"""Cross-site knowledge distillation for MONAI bundles.

Importing the package loads nothing heavy, so that ``python -m akd_monai --help`` answers at once;
import what you need from its sub-packages.
"""

from __future__ import annotations

__version__ = "0.1.0"
