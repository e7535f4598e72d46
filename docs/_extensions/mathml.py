# SPDX-License-Identifier: Apache-2.0
"""A Sphinx extension that writes formulas as MathML, which browsers show by themselves: no script, no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.math import get_node_equation_number


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write a formula in a line."""
    translator.body.append(_written(node, "inline"))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula of its own, with its number where it has one."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})</span>')
    translator.body.append(f"{_written(node, 'block')}</div>")
    raise nodes.SkipNode


def _written(node: nodes.Element, display: str) -> str:
    latex = node.astext()
    # MathML has no command for the start of a line's alignment outside of an environment
    if display == "block" and "\\\\" in latex and "\\begin" not in latex:
        latex = f"\\begin{{aligned}}{latex}\\end{{aligned}}"
    return convert(latex, display=display)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the two kinds of formula for HTML."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
