# SPDX-License-Identifier: Apache-2.0
"""The pages of an experiment: its report, and how the paper was read."""

from __future__ import annotations

__all__: list[str] = []
