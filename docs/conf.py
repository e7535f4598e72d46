# SPDX-License-Identifier: Apache-2.0
"""Sphinx settings; ``python3 make.py docs`` builds the pages with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

import akd_monai

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "akd_monai"
copyright = "the developers of akd_monai"
author = "the developers of akd_monai"
release = akd_monai.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "mathml"]
html_math_renderer = "mathml"
exclude_patterns = ["_build", "_extensions"]
html_theme = "furo"
html_title = f"akd_monai {release}"
# prompts and the output of examples are not copied with the commands
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# every reference must lead somewhere; other projects' pages are not at hand without a network
html_static_path = ["_static"]
html_css_files = ["wrap.css"]

nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|monai|ignite|numpy|np|npt|nibabel|nib|nn|pandas|mlflow|argparse|jinja2)(\..*)?"),
    (r"py:.*", r"(collections|concurrent|contextlib|dataclasses|enum|os|pathlib|types|typing)(\..*)?"),
    (
        r"py:.*",
        r"(bool|bytes|complex|dict|float|frozenset|int|list|memoryview|object|set|str|tuple|type|None|optional)",
    ),
    # what signatures call by its last name alone, and the types of choices, which are strings to a user
    (r"py:class", r"(.*\.)?_?(Comparison|Compose|Evaluator|Item|KeysCollection|Path|Result|pd\.DataFrame)"),
    (
        r"py:class",
        r"(AffinityAlgorithm|CacheDtype|Gram(Mode|Normalize|Reduction)|KLDirection|PositionReduction|Resume)",
    ),
]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
