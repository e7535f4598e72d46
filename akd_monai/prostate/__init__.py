# SPDX-License-Identifier: Apache-2.0
"""Prostate MRI: prepare its public sources, check prepared data, make a synthetic set.

Names are looked up when they are first used, so that ``import akd_monai.prostate`` loads neither torch nor MONAI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from akd_monai._lazy import lazy_names

if TYPE_CHECKING:
    from akd_monai.prostate.phantom.make import make_phantom
    from akd_monai.prostate.prepare.run import prepare_dataset
    from akd_monai.prostate.verify.run import verify_dataset

_HOMES = {
    "make_phantom": "phantom.make",
    "prepare_dataset": "prepare.run",
    "verify_dataset": "verify.run",
}

__all__ = ["make_phantom", "prepare_dataset", "verify_dataset"]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
