# SPDX-License-Identifier: Apache-2.0
"""Checks of prepared data: every file, the geometry, the masks, and what only shows between cases."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from akd_monai._moved import moved_name
from akd_monai.prostate.verify.report import Finding, VerifyReport
from akd_monai.prostate.verify.run import verify_dataset

__all__ = ["Finding", "VerifyReport", "verify_dataset"]


def __getattr__(name: str) -> Any:
    found = moved_name(__name__, name)
    return _with_output(found) if name == "verify" else found


def _with_output(function: Callable[..., VerifyReport]) -> Callable[..., VerifyReport]:
    """Return ``verify`` of version 0.1, whose argument ``output`` is now ``output_dir``."""

    @functools.wraps(function)
    def verify(*args: Any, output: Any = None, **options: Any) -> VerifyReport:
        if output is not None:
            options["output_dir"] = output
        return function(*args, **options)

    return verify
