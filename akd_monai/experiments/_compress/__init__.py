# SPDX-License-Identifier: Apache-2.0
"""From a large bundle to light ones: what is asked for, the cells that follow, what they found, and the report."""

from __future__ import annotations

__all__: list[str] = []
