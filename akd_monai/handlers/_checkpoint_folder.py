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
from akd_monai.files import atomic_write
from akd_monai.handlers._sealed import DamagedError, read_sealed, sealed

__all__ = ["CheckpointFolder"]

# 1 had no checksum
_FORMAT = 2
_FORMATS = (1, _FORMAT)
_LONGEST = 200

logger = logging.getLogger(__name__)


class CheckpointFolder:
    """Write ``resume.pt``, keep the file before it as ``resume-previous.pt``, and find the newest that is intact.

    Each file ends in the SHA-256 of all its other bytes, which is checked before anything in it is believed.

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
        """Return the newest file that is intact and its content, on the CPU; None if there is no file at all.

        Raises:
            InputError: if there are files, but none can be read: to start from the beginning without a word could
                replace a better model. Also if a folder has the name of a file.
        """
        present = [path for path in (self.path, self.previous) if path.exists()]
        self._check_names()
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
        atomic_write(self.path, sealed({"format": _FORMAT, **content}), keep=self.previous)

    def clear(self) -> None:
        """Delete both files.

        Raises:
            InputError: if a folder has the name of one.
        """
        self._check_names()
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)

    def _check_names(self) -> None:
        for path in (self.path, self.previous):
            if path.is_dir():
                raise InputError("is a folder, not a checkpoint", where=str(path), remedy="move it away")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content, has_hash = read_sealed(path.read_bytes())
        return _checked(path, content, has_hash)
    except (DamagedError, OSError) as error:
        reason = one_line(error, _LONGEST) or type(error).__name__
    logger.warning("skipped %s, which cannot be read: %s", path, reason)
    return None


def _checked(path: Path, content: Any, has_hash: bool) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") not in _FORMATS:
        raise DamagedError("it is no checkpoint of this handler")
    if has_hash:
        return content
    if content["format"] == _FORMAT:
        raise DamagedError("its checksum is missing")
    logger.warning("%s was written by an earlier version, without a checksum: damage cannot be noticed", path)
    return content


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
