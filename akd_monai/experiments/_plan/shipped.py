# SPDX-License-Identifier: Apache-2.0
"""The experiments that come with the package, by name."""

from __future__ import annotations

import os
from pathlib import Path

from akd_monai.errors import unknown_name
from akd_monai.files import as_path

__all__ = ["experiment_file", "shipped_names"]

_FOLDER = Path(__file__).parents[1] / "shipped"


def shipped_names() -> list[str]:
    """Return the names of the experiments that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def experiment_file(file: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the file of an experiment, and the folder in which it writes by default.

    Args:
        file: a path, or the name of an experiment of the package, with or without ``.json``; a file of that name goes
            first. What a file beside the data says is written beside it, what the package brings is written in the
            current folder.

    Raises:
        UnknownNameError: if there is neither such a file nor such an experiment.

    Example:
        >>> file, folder = experiment_file("table2-small")
        >>> file.name, folder.name
        ('table2-small.json', 'table2-small')
    """
    path = as_path(file, "file")
    name = str(path).removesuffix(".json")
    is_shipped = name in shipped_names()
    # a folder of that name holds the results of an earlier call
    if path.is_file() or (path.exists() and not is_shipped):
        path = path.resolve()
        return path, path.with_suffix("")
    if not is_shipped:
        raise unknown_name("experiment", str(path), shipped_names(), remedy="Give one of these, or the path of a file")
    return _FOLDER / f"{name}.json", Path(name).resolve()
