# SPDX-License-Identifier: Apache-2.0
"""Settings of one's own in the bundles of the package, as they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._parts import CONFIGS, bundle_files
from akd_monai.bundle._settings import check_settings, known_settings
from akd_monai.errors import unknown_name

__all__ = ["with_settings"]

_SIZE = "spatial_size"
_SHAPES = tuple(f"network_data_format#{side}#spatial_shape" for side in ("inputs#image", "outputs#pred"))


def with_settings(parts: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return parts whose bundles have ``settings`` in every config that has the id, training and inference alike.

    The metadata and the README follow the size of a slice; the README states no cost of a network that was changed.

    Args:
        parts: parts by the names of their bundles.
        settings: values by id, ``#`` leading into nested ids.

    Raises:
        InputError: for a value of another kind or out of range.
        UnknownNameError: for an id that no config of these bundles has.
    """
    known = known_settings(of_overlay=False)
    check_settings(**{name: value for name, value in settings.items() if name in known})
    configs = {bundle: _configs(part) for bundle, part in parts.items()}
    every = [parser for of_bundle in configs.values() for parser in of_bundle.values()]
    for name in settings:
        if not any(name in parser for parser in every):
            raise unknown_name("config id", name, sorted({str(key) for parser in every for key in parser.get()}))
    return {bundle: _changed(part, configs[bundle], settings) for bundle, part in parts.items()}


def _configs(part: Mapping[str, Any]) -> dict[str, ConfigParser]:
    files = bundle_files(part)
    return {name: ConfigParser(config=json.loads(files[f"configs/{name}"])) for name in CONFIGS if name in part}


def _changed(
    part: Mapping[str, Any], configs: Mapping[str, ConfigParser], settings: Mapping[str, Any]
) -> dict[str, Any]:
    wanted = dict(settings)
    if _SIZE in settings:
        wanted.update(dict.fromkeys(_SHAPES, settings[_SIZE]))
    changed = dict(part)
    for config, parser in configs.items():
        own = {name: value for name, value in wanted.items() if name in parser}
        if own:
            changed[config] = {**part[config], **own}
    changed["README.md"] = {**part["README.md"], **_readme(part, settings)}
    return changed


def _readme(part: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    changed = {}
    if _SIZE in settings:
        size: Sequence[int] = settings[_SIZE]
        changed["size"] = " x ".join(map(str, size))
        changed["shape"] = str([1, 1, *size])
    if any(name.startswith("network_def") for name in settings):
        changed["network"] = re.sub(r" \(.*\)", "", part["README.md"]["network"])
    return changed
