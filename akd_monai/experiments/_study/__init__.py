# SPDX-License-Identifier: Apache-2.0
"""The results of an experiment, read from its folder, checked, and put into tables."""

from __future__ import annotations

__all__: list[str] = []
