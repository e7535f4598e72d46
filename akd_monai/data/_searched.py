# SPDX-License-Identifier: Apache-2.0
"""What is searched for volumes: everything below a folder that is not hidden, without the folder of the masks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from akd_monai.names import visible

__all__ = ["searched"]


def searched(root: Path, output_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Yield what lies below ``root`` and not in the folder of the masks; links to folders are not followed."""
    output = None if output_dir is None else Path(output_dir).resolve()
    inside = output is not None and output != root.resolve() and output.is_relative_to(root.resolve())
    for path in visible(root, "**/*"):
        # Path.resolve would raise an error for a link that leads to itself
        if not (inside and Path(os.path.realpath(path)).is_relative_to(output or root)):
            yield path
