"""Sphinx extension: formulas as MathML, which browsers draw by themselves: no script, no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata
    from sphinx.writers.html5 import HTML5Translator

SPELLINGS = {r"\dots": r"\ldots", r"\|": r"\Vert "}  # LaTeX that docutils knows by another name


def to_mathml(formula: str, *, block: bool = False) -> str:
    """Translate a LaTeX formula, or say which one cannot be."""
    for ours, theirs in SPELLINGS.items():
        formula = formula.replace(ours, theirs)
    try:
        return str(tex2mathml(formula, as_block=block))
    except MathError as error:
        raise ExtensionError(f"{error} in the formula {formula!r}") from error


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(to_mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, which scrolls by itself where it is too wide."""
    self.body.append(f'<div class="math">{to_mathml(node.astext(), block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit_math, None), block_renderers=(visit_math_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
