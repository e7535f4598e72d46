# SPDX-License-Identifier: Apache-2.0
"""A name for a run that no other run has."""

from __future__ import annotations

from pathlib import Path

from akd_monai.handlers._run_name import known_run_name, write_run_name

__all__ = ["unique_run_name"]


def unique_run_name(output_dir: str | Path, prefix: str = "run") -> str:
    """Return the name of the run in ``output_dir``, which is chosen once and kept there for resumed runs.

    :class:`ResumableCheckpoint` chooses another with ``resume="never"``, since that starts another run.

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
    return known_run_name(output_dir) or write_run_name(output_dir, prefix)
