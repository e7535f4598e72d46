# SPDX-License-Identifier: Apache-2.0
"""The file that holds the name of a run."""

from __future__ import annotations

import uuid
from pathlib import Path

from akd_monai.errors import InputError, one_line
from akd_monai.files import atomic_write

__all__ = ["known_run_name", "new_run_name", "write_run_name"]

_FILENAME = "run_name.txt"


def known_run_name(output_dir: str | Path) -> str:
    """Return the name that was chosen for ``output_dir``, empty before that.

    Raises:
        InputError: if the file cannot be read.
    """
    path = Path(output_dir) / _FILENAME
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({one_line(error)})", where=str(path), remedy="move it away") from error


def new_run_name(output_dir: str | Path) -> str:
    """Choose another name for the run in ``output_dir``, with the same prefix, and return it.

    Raises:
        InputError: if the folder cannot be written to, or the file cannot be read.
    """
    prefix = known_run_name(output_dir).rpartition("_")[0]
    return write_run_name(output_dir, prefix or "run")


def write_run_name(output_dir: str | Path, prefix: str) -> str:
    """Choose a name that begins with ``prefix``, and return it.

    Raises:
        InputError: if the folder cannot be written to.
    """
    name = f"{prefix}_{uuid.uuid4().hex[:12]}"
    atomic_write(Path(output_dir) / _FILENAME, name + "\n")
    return name
