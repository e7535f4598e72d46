# SPDX-License-Identifier: Apache-2.0
"""An experiment as data: its file, the cells that follow from it, and which of them are done."""

from __future__ import annotations

__all__: list[str] = []
