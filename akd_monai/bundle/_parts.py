# SPDX-License-Identifier: Apache-2.0
"""The parts from which the project's bundles are assembled, and the files that they give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._results import metadata_with_results, read_results, readme_with_results
from akd_monai.files import read_json

__all__ = [
    "CONFIGS",
    "PARTS",
    "as_json",
    "bundle_files",
    "different_files",
    "part_names",
    "read_common",
    "read_part",
]

PARTS = Path(__file__).with_name("parts")

CONFIGS = (
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
_COPIED = {"logging.conf": "configs/logging.conf", "LICENSE": "LICENSE"}

# in a patch: ids of what is patched that are left out
_WITHOUT = "_without_"


def part_names() -> list[str]:
    """Return the names of all networks that have a part."""
    return sorted(path.stem for path in (PARTS / "networks").glob("*.json"))


def read_part(name: str) -> dict[str, Any]:
    """Return the part of one network, ``parts/networks/<name>.json``."""
    part: dict[str, Any] = read_json(PARTS / "networks" / f"{name}.json")
    return part


def read_common(name: str) -> dict[str, Any]:
    """Return what the bundles' configs of this name share.

    The overlay for distillation is the generic one of this package, patched: ids are replaced or added, and those
    under ``"_without_"`` are left out.
    """
    content: dict[str, Any] = read_json(PARTS / "common" / name)
    if name != "distill.json":
        return content
    left_out = content.pop(_WITHOUT)
    generic = read_json(PARTS.with_name("distill.json"))
    return {key: value for key, value in {**generic, **content}.items() if key not in left_out}


def bundle_files(part: Mapping[str, Any], results: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the content of every generated file of one bundle, by its path inside the bundle.

    Args:
        part: what is specific to the bundle.
        results: its published results, which its README and metadata show.
    """
    files = {}
    for name in CONFIGS:
        if name in part:
            content = _changed(read_common(name), part[name], nested=name not in _OVERLAYS)
            if name == "tracking.json" and "distill.json" not in part:
                # what cannot be distilled is there to teach
                content["configs"]["plain_role"] = "teacher"
            if name == "metadata.json" and results:
                content = metadata_with_results(content, results)
            files[f"configs/{name}"] = as_json(content)
    readme = _readme(part)
    files["docs/README.md"] = readme_with_results(readme, results) if results else readme
    for name, target in _COPIED.items():
        files[target] = (PARTS / "common" / name).read_text(encoding="utf-8")
    return files


def different_files(part: Mapping[str, Any], root: Path) -> list[Path]:
    """Return the files of the bundle of ``part`` that are missing in the folder ``root``, or hold something else.

    Published results of the folder count as its own, and line ends of any system are the same.
    """
    files = bundle_files(part, read_results(root))
    return [root / path for path, content in files.items() if not _holds(root / path, content)]


def _holds(file: Path, content: str) -> bool:
    return file.is_file() and file.read_bytes().replace(b"\r\n", b"\n") == content.encode()


def as_json(content: Any) -> str:
    """Return ``content`` as the text of a config file."""
    return json.dumps(content, indent=4) + "\n"


def _readme(part: Mapping[str, Any]) -> str:
    template = Template((PARTS / "common" / "README.md").read_text(encoding="utf-8"))
    values = {**read_json(PARTS / "common" / "README.json"), **part["README.md"]}
    return template.substitute(values, bundle=part["bundle"])


def _changed(content: dict[str, Any], changes: Mapping[str, Any], *, nested: bool) -> dict[str, Any]:
    """Set each id of ``changes``; in an overlay ``#`` stays part of the id, since MONAI merges it later."""
    if not nested:
        return {**content, **changes}
    parser = ConfigParser(config=content)
    parser.update(dict(changes))
    changed: dict[str, Any] = parser.get()
    return changed
