# SPDX-License-Identifier: Apache-2.0
"""Read one DICOM slice by ITK; other formats are read without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["itk_image", "last_line"]


def itk_image(io: Any, path: Path) -> Any:
    """Read a 3-D file through ``io`` as double, which holds every stored type exactly and has a class in Python."""
    import itk

    reader = itk.ImageFileReader[itk.Image[itk.D, 3]].New(FileName=str(path), ImageIO=io)
    reader.Update()
    return reader.GetOutput()


def last_line(error: Exception, path: Path) -> str:
    """Return the last line of a library's message, without paths."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("Reason:")]
    message = telling[-1] if telling else type(error).__name__
    message = message.replace(str(path), path.name).replace(str(path.parent), "")
    return message.split("): ", 1)[-1].removeprefix("ITK ERROR: ").rstrip(".")
