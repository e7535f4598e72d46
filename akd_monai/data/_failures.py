# SPDX-License-Identifier: Apache-2.0
"""What is said of volumes that could not be segmented: a line each, and one at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from akd_monai._faults import MACHINE_FAULT, machine_fault
from akd_monai.errors import InputError, one_line

__all__ = ["Failure", "described_failure", "failures_error"]

_MOST_NAMES = 10
_LONGEST_REASON = 120
_LONGEST_MESSAGE = 2000


class Failure:
    """Why a volume has no mask.

    Args:
        message: a complete line.
        reason: its cause, in short.
        is_fault: whether memory or disk were the cause.
    """

    def __init__(self, message: str, reason: str, is_fault: bool) -> None:
        self.message = message
        self.reason = reason
        self.is_fault = is_fault


def described_failure(file: str, error: BaseException) -> Failure:
    """Return what to say about a file of which ``error`` was raised.

    Example:
        >>> described_failure("a.nii.gz", InputError("has 0 bytes", remedy="copy it again")).message
        'a.nii.gz: has 0 bytes; copy it again.'
    """
    fault = "" if isinstance(error, InputError) else machine_fault(error)
    # a list of series to choose from is long
    words = one_line(error, _LONGEST_MESSAGE) if isinstance(error, InputError) else fault
    if not words:
        words = f"{type(error).__name__}: {one_line(error)}"
    message = words if _is_named(Path(file).name, words) else f"{' '.join(file.splitlines())}: {words}"
    what = error.what if isinstance(error, InputError) else words
    return Failure(message, one_line(what, _LONGEST_REASON), bool(fault))


def _is_named(name: str, words: str) -> bool:
    """Return whether a message names a file; a folder may be called 1, and a message count."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?=[:/'\"])", words) is not None


def failures_error(
    files: Sequence[str], failed: Sequence[int], reasons: Mapping[int, str], faults: Collection[int]
) -> InputError:
    """Return the error with which a run ends in which volumes failed, naming them.

    Args:
        files: all volumes.
        failed: numbers of the ones without a mask.
        reasons: of each that is known in this process, in short.
        faults: numbers of the ones that failed for want of memory or disk.
    """
    absolute = [os.path.abspath(file) for file in files]
    shared = os.path.commonpath([os.path.dirname(file) for file in absolute])
    shown = failed[:_MOST_NAMES]
    # a name may hold a line break
    names = [" ".join(os.path.relpath(absolute[index], shared).splitlines()) for index in shown]
    listed = [f"{name} ({reasons.get(index, 'see above')})" for name, index in zip(names, shown, strict=True)]
    more = f" and {len(failed) - _MOST_NAMES} more" if len(failed) > _MOST_NAMES else ""
    code = MACHINE_FAULT if set(failed) <= set(faults) else "failed-volumes"
    counted = f"{len(files) - len(failed)} of {len(files)} volumes segmented"
    return InputError(f"{counted}; failed: {', '.join(listed)}{more}.", code=code)
