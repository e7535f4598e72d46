# SPDX-License-Identifier: Apache-2.0
"""Set values in all configs of a bundle alike, so that training and inference go on agreeing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle.metadata import bundle_path
from akd_monai.errors import UnknownNameError, near_matches


def change_bundle(bundle_dir: str | Path, changes: Mapping[str, Any]) -> None:
    """Set ``changes`` in every config of a bundle that has the id.

    Args:
        bundle_dir: the bundle's folder; its configs are written anew.
        changes: values by id, ``#`` leading into nested ids, such as ``"network_def#dropout"``.

    Raises:
        UnknownNameError: for an id that no config has; nothing is written then.
    """
    hit: set[str] = set()
    known: set[str] = set()
    texts = {}
    for path in sorted(bundle_path(bundle_dir, "configs").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        known |= content.keys()
        for key, value in changes.items():
            *parents, last = key.split("#")
            place: Any = content
            for parent in parents:
                place = place.get(parent) if isinstance(place, dict) else None
            if isinstance(place, dict) and last in place:
                place[last] = value
                hit.add(key)
        texts[path] = json.dumps(content, indent=4) + "\n"
    for key in changes:
        if key not in hit:
            raise UnknownNameError(f"no config of {str(bundle_dir)!r} has the id {key!r}.{near_matches(key, known)}")
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
