# SPDX-License-Identifier: Apache-2.0
"""A name for a run that no other run has."""

from __future__ import annotations

import uuid
from pathlib import Path

from akd_monai.errors import InputError, one_line
from akd_monai.files import atomic_write

__all__ = ["unique_run_name"]

_FILENAME = "run_name.txt"


def unique_run_name(output_dir: str | Path, prefix: str = "run") -> str:
    """Return the name of the run in ``output_dir``, which is chosen once and kept there for resumed runs.

    Args:
        output_dir: folder of the run; the name is in its file ``run_name.txt``.
        prefix: how a new name begins.

    Raises:
        InputError: if the folder cannot be written to, or the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     name = unique_run_name(folder, "enet")
        ...     name == unique_run_name(folder), name.startswith("enet_")
        (True, True)
    """
    path = Path(output_dir) / _FILENAME
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        name = ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({one_line(error)})", where=str(path), remedy="move it away") from error
    if not name:
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        atomic_write(path, name + "\n")
    return name
