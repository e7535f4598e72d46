# SPDX-License-Identifier: Apache-2.0
"""A name for a run that no other run has."""

from __future__ import annotations

import uuid
from pathlib import Path

from akd_monai.files import atomic_write

_FILENAME = "run_name.txt"


def unique_run_name(output_dir: str | Path, prefix: str = "run") -> str:
    """Return the name of the run in ``output_dir``: made up at first, then read, so that a resumed run keeps its name.

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
    if not name:
        name = f"{prefix}_{uuid.uuid4().hex[:12]}"
        atomic_write(path, name + "\n")
    return name
