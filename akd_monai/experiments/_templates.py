# SPDX-License-Identifier: Apache-2.0
"""Turn templates and figures into pages that need no other file."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from akd_monai.experiments._tables import shown

__all__ = ["data_uri", "rendered"]


def rendered(template: str, content: Mapping[str, Any]) -> str:
    """Return a template of this package, filled; a name that is missing in ``content`` is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
        # Markdown is no HTML
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shown"] = shown
    return environment.get_template(template).render(content)


def data_uri(png: bytes) -> str:
    """Return a PNG file as the source of an image."""
    encoded = base64.b64encode(png).decode("ascii")
    # These four letters come up by chance in a megabyte of base 64. Written another way, a search of the page for links
    # finds links only; browsers decode it before they read the base 64.
    encoded = re.sub("http", lambda m: f"%{ord(m[0][0]):02x}{m[0][1:]}", encoded, flags=re.IGNORECASE)
    return f"data:image/png;base64,{encoded}"
