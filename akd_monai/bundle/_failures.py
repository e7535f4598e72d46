# SPDX-License-Identifier: Apache-2.0
"""An error of a bundle's own config or code, in one line in place of MONAI's several tracebacks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akd_monai._faults import machine_fault
from akd_monai._last_line import user_error
from akd_monai.errors import BundleError, InputError, NonFiniteError, one_line

__all__ = ["bundle_failures"]

logger = logging.getLogger(__name__)

_OURS = "akd_monai."
# a sampler of PyTorch over an empty data set
_NO_CASES = "num_samples should be a positive integer value, but got num_samples=0"
# they say all in their own line, or are no failure
_KEPT = (BundleError, NonFiniteError, OSError, MemoryError)


@contextmanager
def bundle_failures(bundle_dir: str | Path) -> Iterator[None]:
    """Turn an error that a bundle's config or code raises into a ``BundleError`` that says what failed and where.

    A mistake that this package reports itself, an error of its own code, and a fault of the machine, such as no memory
    or a full disk, stay as they are. Data that are not there are an ``InputError``. The tracebacks are
    logged at level DEBUG.

    Args:
        bundle_dir: the bundle's folder.
    """
    try:
        yield
    except _KEPT:
        raise
    except Exception as error:
        inner = _innermost(error)
        if user_error(error) is not None or isinstance(inner, _KEPT) or machine_fault(inner) or _is_ours(inner):
            raise
        logger.debug("the tracebacks:", exc_info=True)
        if _NO_CASES in str(inner):
            raise InputError(
                f"bundle {str(bundle_dir)!r} finds no cases to train on",
                remedy="give the folder of its data, by --dataset_dir where the bundle has this id, and compare the names "
                "of its files with those that configs/train looks for",
            ) from error
        raise BundleError(f"bundle {str(bundle_dir)!r} failed: {_said(inner)}{_place(error, inner)}.") from error


def _innermost(error: BaseException) -> BaseException:
    """Return the error that began it; MONAI wraps it, some libraries raise another one while they handle it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error
    return error


def _frames(error: BaseException) -> list[tuple[str, str, int]]:
    """Return module, file and line of each frame, the innermost last."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        found.append((module, trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _is_ours(error: BaseException) -> bool:
    frames = _frames(error)
    return bool(frames) and frames[-1][0].startswith(_OURS)


def _said(error: BaseException) -> str:
    # MONAI's error for a package that is missing ends with advice and a traceback
    message = one_line(str(error).split("\n\nFor details about installing")[0]).rstrip(".")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _place(outer: BaseException, inner: BaseException) -> str:
    """Return what MONAI was building, and the line of code that raised."""
    building = ""
    error: BaseException | None = outer
    while error is not None and error is not inner:
        # the innermost of MONAI's messages names the smallest part of the config
        if one_line(error).startswith("Failed to "):
            building = one_line(error).split(" set '_mode_")[0].removeprefix("Failed to ")
        error = error.__cause__
    frames = _frames(inner)
    line = f" ({Path(frames[-1][1]).name}, line {frames[-1][2]})" if frames else ""
    return f"{line}, when MONAI had to {building}" if building else line
