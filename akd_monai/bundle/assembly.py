# SPDX-License-Identifier: Apache-2.0
"""Write the project's bundles from their parts, so that what they share is written once and each is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle._parts import bundle_files, different_files, part_names, read_part
from akd_monai.bundle._results import read_results
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path, atomic_write, check_writable

__all__ = ["assemble_bundles", "write_bundle"]


def assemble_bundles(
    names: Sequence[str] = (), *, bundles_dir: str | Path = "bundles", check: bool = False
) -> list[Path]:
    """Write bundles from ``parts/common`` and ``parts/networks/<name>.json``, or compare them with what is there.

    Each part of a network holds the name of its bundle and, for every config, the ids that differ from the common one;
    ``#`` leads into nested ids.

    Args:
        names: parts to assemble, such as ``"enet"``; all by default.
        bundles_dir: folder of the bundles' folders.
        check: write nothing, but fail if a file differs from its parts.

    Returns:
        The folders of the bundles.

    Raises:
        UnknownNameError: for a name without a part.
        InputError: if a folder cannot be written to; with ``check``, naming the files that differ.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     roots = assemble_bundles(["enet", "erfnet"], bundles_dir=folder)
        ...     roots == assemble_bundles(["enet", "erfnet"], bundles_dir=folder, check=True)
        True
    """
    known = part_names()
    for name in names:
        if name not in known:
            raise unknown_name("part", name, known)
    parts = [read_part(name) for name in names or known]
    roots = [as_path(bundles_dir, "bundles_dir") / part["bundle"] for part in parts]
    if check:
        _check_all(parts, roots)
    else:
        for part, root in zip(parts, roots, strict=True):
            write_bundle(part, root)
    return roots


def write_bundle(part: str | Mapping[str, Any], root: str | Path) -> Path:
    """Write the bundle of ``part`` into the folder ``root``, with an empty ``models`` folder, and return ``root``.

    Args:
        part: name of a network's part, such as ``"enet"``, or a part itself.
        root: folder of the bundle; weights and published results that are there stay.

    Raises:
        UnknownNameError: for a name without a part.
        InputError: if the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.name for path in write_bundle("enet", folder).iterdir())
        ['LICENSE', 'configs', 'docs', 'models']
    """
    if isinstance(part, str):
        if part not in part_names():
            raise unknown_name("part", part, part_names())
        part = read_part(part)
    root = Path(root)
    for path, content in bundle_files(part, read_results(root)).items():
        atomic_write(root / path, content)
    check_writable(root / "models")
    return root


def _check_all(parts: Sequence[Mapping[str, Any]], roots: Sequence[Path]) -> None:
    different: list[str] = []
    for part, root in zip(parts, roots, strict=True):
        different.extend(map(str, different_files(part, root)))
    if different:
        raise InputError(
            f"{len(different)} files differ from their parts: {', '.join(different[:3])}",
            remedy="change akd_monai/bundle/parts and run python -m akd_monai assemble",
            code="differs",
        )
