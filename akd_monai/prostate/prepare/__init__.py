# SPDX-License-Identifier: Apache-2.0
"""Bring raw prostate MRI of several sources into the six-site layout."""

from __future__ import annotations

from typing import Any

from akd_monai._moved import moved_name
from akd_monai.prostate.prepare._result import Failure, PrepareResult
from akd_monai.prostate.prepare.run import prepare_dataset

__all__ = ["Failure", "PrepareResult", "prepare_dataset"]


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
