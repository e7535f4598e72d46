# SPDX-License-Identifier: Apache-2.0
"""Set values in all configs of a bundle alike, so that training and inference keep agreeing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._parts import as_json
from akd_monai.bundle.metadata import bundle_path
from akd_monai.errors import unknown_name
from akd_monai.files import atomic_write, read_json

__all__ = ["change_bundle"]


def change_bundle(bundle_dir: str | Path, changes: Mapping[str, Any]) -> None:
    """Set ``changes`` in every JSON config of a bundle that has the id.

    Args:
        bundle_dir: the bundle's folder; its configs are written again.
        changes: values by id, ``#`` leading into nested ids, such as ``"network_def#dropout"``.

    Raises:
        UnknownNameError: for an id that no config has; nothing is written then.
        InputError: if a config is broken or cannot be written.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = write_bundle("enet", folder)
        ...     change_bundle(root, {"network_def#dropout": 0.3})
        ...     [read_json(root / "configs" / name)["network_def"]["dropout"] for name in ("train.json", "inference.json")]
        [0.3, 0.3]
    """
    paths = sorted(bundle_path(bundle_dir, "configs").glob("*.json"))
    parsers = {path: ConfigParser(config=read_json(path)) for path in paths}
    for name in changes:
        if not any(name in parser for parser in parsers.values()):
            known = {str(key) for parser in parsers.values() for key in parser.get()}
            raise unknown_name("config id", name, sorted(known), where=f"in the configs of {str(bundle_dir)!r}")
    for path, parser in parsers.items():
        parser.update({name: value for name, value in changes.items() if name in parser})
        atomic_write(path, as_json(parser.get()))
