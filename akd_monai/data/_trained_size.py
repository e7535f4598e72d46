# SPDX-License-Identifier: Apache-2.0
"""Whether a network is used on slices of the size that it has learned from."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from akd_monai.files import sha256_of

__all__ = ["RECORD", "warn_of_other_size"]

logger = logging.getLogger(__name__)

RECORD = Path("eval", "training.json")


def warn_of_other_size(record: Path, weights: Path, size: Sequence[int]) -> None:
    """Warn if slices are resized to another size than in the training of the weights.

    Args:
        record: ``training.json`` of a training; nothing is known without it, or if it is of other weights.
        weights: the file of weights.
        size: height and width to which slices are resized now.
    """
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        trained = list(content["spatial_size"])
        is_of_weights = content["weights_sha256"] == sha256_of(weights)
    except (OSError, ValueError, KeyError, TypeError):
        return
    if is_of_weights and trained != list(size):
        logger.warning(
            "%s has learned from slices of %s and is used on %s, where masks may be wrong; set spatial_size in the bundle's "
            "configs, as bundles --spatial_size does, or give --spatial_size where a command takes it.",
            weights,
            " x ".join(map(str, trained)),
            " x ".join(map(str, size)),
        )
