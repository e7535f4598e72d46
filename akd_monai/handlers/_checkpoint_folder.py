# SPDX-License-Identifier: Apache-2.0
"""The files of :class:`ResumableCheckpoint`: two of them, of which one can always be read."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from akd_monai.errors import InputError, one_line
from akd_monai.files import save_atomic

__all__ = ["CheckpointFolder"]

_FORMAT = 1
_LONGEST = 200
_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError)

logger = logging.getLogger(__name__)


class CheckpointFolder:
    """Write ``resume.pt``, keep the file before it as ``resume-previous.pt``, and find the newest that can be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = CheckpointFolder(folder)
        ...     for iteration in (1, 2):
        ...         files.write({"iteration": iteration})
        ...     _ = files.path.write_bytes(b"half a file")
        ...     path, content = files.newest()
        >>> path.name, content["iteration"]
        ('resume-previous.pt', 1)
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "resume.pt"
        self.previous = Path(folder) / "resume-previous.pt"
        self._checked = False

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest file that can be read and its content, on the CPU; None if there is no file at all.

        Raises:
            InputError: if there are files, but none can be read: to start from the beginning without a word could
                replace a better model.
        """
        present = [path for path in (self.path, self.previous) if path.exists()]
        for path in present:
            content = _read(path)
            if content is not None:
                return path, content
        if present:
            raise InputError(
                f"none of the checkpoints in {str(self.path.parent)!r} can be read: restore {self.path.name} from a "
                "copy, or set resume to 'never' to start from the beginning."
            )
        return None

    def write(self, content: Mapping[str, Any]) -> None:
        """Write ``content``; whatever happens meanwhile, the file before it can still be read.

        Raises:
            InputError: if the content could not be read back, or the folder cannot be written to.
            OSError: if no space is left.
        """
        if not self._checked:
            _check_readable(content)
            self._checked = True
        save_atomic({"format": _FORMAT, **content}, self.path, keep=self.previous)

    def clear(self) -> None:
        """Delete both files."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and content.get("format") == _FORMAT:
            return content
        reason = "it is no checkpoint of this handler"
    except _UNREADABLE as error:
        reason = one_line(error, _LONGEST) or type(error).__name__
    logger.warning("skipped %s, which cannot be read: %s", path, reason)
    return None


def _check_readable(content: Mapping[str, Any]) -> None:
    """Refuse, at the first save rather than at the first resume, what ``weights_only=True`` could not read back."""
    parts = {**content, **content.get("parts", {}), **content.get("members", {})}
    for name, part in parts.items():
        if name in ("parts", "members"):
            continue
        buffer = io.BytesIO()
        try:
            torch.save(part, buffer)
            buffer.seek(0)
            torch.load(buffer, weights_only=True)
        except (pickle.PicklingError, pickle.UnpicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the state of {name} cannot be saved safely, because it holds more than tensors, numbers and strings: "
                f"{one_line(error, _LONGEST)}"
            ) from error
