# SPDX-License-Identifier: Apache-2.0
"""The modality that metadata of bundles name in many ways."""

from __future__ import annotations

import re

__all__ = ["modality_of"]

# other words for one modality, and those that say none
_MODALITIES = {"mri": "mr", "pet": "pt", "n/a": "", "na": "", "none": "", "unknown": ""}


def modality_of(given: object) -> str:
    """Return the first word, by which ``MR`` and ``MRI T2`` are one; empty where the metadata do not tell.

    Example:
        >>> modality_of("MRI, T2-weighted"), modality_of("CT"), modality_of("n/a")
        ('mr', 'ct', '')
    """
    words = re.split(r"[\s,;_-]+", given.strip().lower()) if isinstance(given, str) else [""]
    return _MODALITIES.get(words[0], words[0])
