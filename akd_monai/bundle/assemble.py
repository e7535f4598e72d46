# SPDX-License-Identifier: Apache-2.0
"""Write the project's bundles from their parts, so that what they share is written once and each is still whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from akd_monai.bundle.results import metadata_with_results, read_results, readme_with_results
from akd_monai.errors import InputError, UnknownNameError, near_matches

PARTS = Path(__file__).with_name("parts")
_CONFIGS = (
    "train.json",
    "multi_gpu_train.json",
    "evaluate.json",
    "inference.json",
    "preprocessing.json",
    "distill.json",
    "tracking.json",
    "metadata.json",
)
_OVERLAYS = ("multi_gpu_train.json", "evaluate.json", "distill.json", "tracking.json")


def assemble(names: Sequence[str] = (), *, bundles_dir: str | Path = "bundles", check: bool = False) -> str:
    """Write bundles from ``parts/common`` and ``parts/networks/<name>.json``, or compare them with what is there.

    Each part of a network holds the name of its bundle and, for every config, the ids that differ from the common one;
    ``#`` leads into nested ids.

    Args:
        names: parts to assemble, such as ``"enet"``; all by default.
        bundles_dir: folder of the bundles.
        check: write nothing, but raise when a file differs.

    Raises:
        UnknownNameError: for a name without a part.
        InputError: with ``check``, naming the files that differ.
    """
    known = sorted(p.stem for p in (PARTS / "networks").glob("*.json"))
    for name in names:
        if name not in known:
            raise UnknownNameError(f"there is no part {name!r}.{near_matches(name, known)} Known: {', '.join(known)}.")
    different, roots = [], []
    for name in names or known:
        part = read_part(name)
        root = Path(bundles_dir) / part["bundle"]
        if check:
            for path, text in bundle_files(part, read_results(root)).items():
                if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text:
                    different.append(str(root / path))
        else:
            write_bundle(part, root)
        roots.append(str(root))
    if different:
        raise InputError(
            f"{len(different)} files differ from their parts: {', '.join(different[:3])}; "
            "change akd_monai/bundle/parts and run python -m akd_monai assemble."
        )
    return f"{'Agree with their parts' if check else 'Written'}: {', '.join(roots)}"


def read_part(name: str) -> dict[str, Any]:
    """Return the part of one network, ``parts/networks/<name>.json``."""
    part: dict[str, Any] = json.loads((PARTS / "networks" / f"{name}.json").read_text(encoding="utf-8"))
    return part


def write_bundle(part: dict[str, Any], root: str | Path) -> Path:
    """Write the bundle of ``part`` into the folder ``root``, with an empty ``models`` folder, and return ``root``."""
    for path, text in bundle_files(part, read_results(root)).items():
        target = Path(root) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (Path(root) / "models").mkdir(exist_ok=True)
    return Path(root)


def bundle_files(part: dict[str, Any], results: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the text of every generated file of one bundle, by its path inside the bundle.

    Args:
        part: what is special to the bundle.
        results: its published results, which its README and metadata show.
    """
    files = {}
    for name in _CONFIGS:
        if name in part:
            content = json.loads((PARTS / "common" / name).read_text(encoding="utf-8"))
            _change(content, part[name], nested=name not in _OVERLAYS)
            if name == "metadata.json" and results:
                content = metadata_with_results(content, results)
            files[f"configs/{name}"] = json.dumps(content, indent=4) + "\n"
    readme = Template((PARTS / "common" / "README.md").read_text(encoding="utf-8"))
    text = readme.substitute(part["README.md"], bundle=part["bundle"])
    files["docs/README.md"] = readme_with_results(text, results) if results else text
    for name, target in (("logging.conf", "configs/logging.conf"), ("LICENSE", "LICENSE")):
        files[target] = (PARTS / "common" / name).read_text(encoding="utf-8")
    return files


def _change(content: dict[str, Any], changes: dict[str, Any], nested: bool) -> None:
    """Set each id of ``changes``; in an overlay ``#`` stays part of the id, since MONAI merges it later."""
    for key, value in changes.items():
        *path, last = key.split("#") if nested else [key]
        place = content
        for step in path:
            place = place[step]
        place[last] = value
