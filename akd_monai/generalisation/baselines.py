# SPDX-License-Identifier: Apache-2.0
"""The baselines by name: one config file each, which is given after ``train.json`` of a bundle."""

from __future__ import annotations

from pathlib import Path

from akd_monai.errors import unknown_name

__all__ = ["baseline_config", "baseline_names"]

_FOLDER = Path(__file__).resolve().parent / "configs"


def baseline_names() -> list[str]:
    """Return the names of all baselines of domain generalisation, sorted.

    Example:
        >>> [name for name in baseline_names() if name in ("deepall", "bigaug")]
        ['bigaug', 'deepall']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def baseline_config(name: str) -> Path:
    """Return the config file of a baseline: ids alone, to be given after ``train.json`` of a bundle.

    ``python -m monai.bundle run --config_file "['configs/train.json','.../bigaug.json']"`` then trains by it. Every id
    of the file can be overridden on the command line, such as ``--bigaug_probability=0.2``, or in a copy of the file.

    Args:
        name: one of :func:`baseline_names`.

    Raises:
        UnknownNameError: for another name.

    Example:
        >>> baseline_config("bigaug").name
        'bigaug.json'
        >>> baseline_config("bigaugh")
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: unknown baseline 'bigaugh'. Did you mean 'bigaug'? Known: ...
    """
    names = baseline_names()
    if name not in names:
        raise unknown_name("baseline", name, names)
    return _FOLDER / f"{name}.json"
