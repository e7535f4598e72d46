# SPDX-License-Identifier: Apache-2.0
"""Ids of overlays of version 0.1, which are still accepted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["with_new_ids"]

logger = logging.getLogger(__name__)

_OLD_IDS = {
    "teacher_cache_dtype": "teacher_options#cache_dtype",
    "teacher_dtype": "teacher_options#dtype",
    "teacher_channels_last": "teacher_options#channels_last",
    "teacher_compile": "teacher_options#compile",
}


def with_new_ids(parser: ConfigParser, override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``override`` with the ids that an overlay of today has in place of those of version 0.1."""
    renamed = {}
    for name, value in override.items():
        new = _OLD_IDS.get(name)
        if new is not None and name not in parser:
            logger.warning("%s is now %s; change the name, the old one will be removed.", name, new)
            renamed[new] = value
        else:
            renamed[name] = value
    return renamed
