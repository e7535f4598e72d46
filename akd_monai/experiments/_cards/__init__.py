# SPDX-License-Identifier: Apache-2.0
"""Model cards: what the weights of each student of an experiment are, how they were made and how they do."""

from __future__ import annotations

__all__: list[str] = []
