# SPDX-License-Identifier: Apache-2.0
"""The bundles that come with the package: what they are, and their folders on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from akd_monai.bundle._parts import different_files, part_names, read_part
from akd_monai.bundle._shipped_settings import with_settings
from akd_monai.bundle.assembly import write_bundle
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path

__all__ = ["ShippedBundle", "list_bundles", "write_bundles"]


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle that comes with the package, without weights.

    Args:
        name: its folder's name.
        role: what it is meant for; any student may teach, and any teacher be distilled.
        parameters: parameters of its network.
        description: one sentence.
    """

    name: str
    role: Literal["teacher", "student"]
    parameters: int
    description: str


def list_bundles(name: str | Sequence[str] = ()) -> list[ShippedBundle]:
    """Return what each bundle of this package is, teachers first.

    Args:
        name: names of bundles, on a command line separated by commas; all by default.

    Raises:
        UnknownNameError: for a name that is no bundle of this package.

    Example:
        >>> [bundle.name for bundle in list_bundles() if bundle.role == "teacher"]
        ['prostate_mri_deeplabv3plus', 'prostate_mri_unetplusplus']
    """
    found = map(_described, _chosen(name).values())
    return sorted(found, key=lambda bundle: (bundle.role == "student", bundle.name))


def write_bundles(output_dir: str | Path, *, name: str | Sequence[str] = (), **settings: Any) -> list[Path]:
    """Write bundles of this package into ``output_dir``, one folder each, ready to be trained; they have no weights.

    A folder that holds the same bundle already is kept as it is, with its weights, results and files of your own.

    Args:
        output_dir: where the folders are made.
        name: names of bundles; all by default.
        settings: any id of the configs, such as ``spatial_size`` and ``epochs``; it is set in every config that has it.

    Returns:
        The folders that it wrote, none where all were there before.

    Raises:
        UnknownNameError: for a name that is no bundle of this package, or an id that no config has.
        InputError: for a setting out of range, or if a folder of that name holds something else or cannot be written to;
            nothing is written then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [root.name for root in write_bundles(folder, name="prostate_mri_enet")]
        ...     write_bundles(folder, name="prostate_mri_enet")
        ['prostate_mri_enet']
        []
    """
    folder = as_path(output_dir, "output_dir")
    parts = with_settings(_chosen(name), settings)
    missing = [bundle for bundle, part in parts.items() if _is_missing(part, folder / bundle)]
    return [write_bundle(parts[bundle], folder / bundle) for bundle in missing]


def _chosen(name: str | Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the parts of the named bundles, or of all, by the names of their bundles."""
    parts = {part["bundle"]: part for part in map(read_part, part_names())}
    wanted = [name] if isinstance(name, str) else list(name)
    for bundle in wanted:
        if bundle not in parts:
            raise unknown_name("bundle", bundle, parts, remedy="python -m akd_monai bundles lists what each is")
    return {bundle: parts[bundle] for bundle in wanted or parts}


def _described(part: Mapping[str, Any]) -> ShippedBundle:
    return ShippedBundle(part["bundle"], part["role"], part["parameters"], part["metadata.json"]["description"])


def _is_missing(part: Mapping[str, Any], root: Path) -> bool:
    """Return whether files of the bundle are missing; what is there must be the bundle's own."""
    different = different_files(part, root)
    others = [path for path in different if path.exists()]
    if root.exists() and not root.is_dir():
        others = [root]
    if others:
        raise InputError(
            f"{str(root)!r} is not the bundle of this version: {len(others)} of its files differ, {str(others[0])!r} first",
            remedy="choose another --output_dir, or rename that folder; nothing was written",
            code="differs",
        )
    return bool(different)
