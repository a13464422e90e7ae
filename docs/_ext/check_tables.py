"""The directive ``checks``: tables of the checks of ``lwm_loss.testing``, made from its registry."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from sphinx.util.docutils import SphinxDirective

from lwm_loss.testing.registry import backbone_check, loss_check

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

REGISTRIES: dict[str, Any] = {"backbone": backbone_check, "loss": loss_check}


class CheckTables(SphinxDirective):
    """One table for each section: the check, its contract, and how it is usually broken."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Write the tables as reStructuredText and parse them."""
        lines: list[str] = []
        checks = REGISTRIES[self.arguments[0]].checks.values()
        for section, members in groupby(checks, key=lambda check: check.section):
            lines += [f"**{section.rstrip('.')}**", "", ".. list-table::"]
            lines += ["   :widths: 32 34 34", "   :header-rows: 1", ""]
            lines += ["   * - Check", "     - Contract", "     - Usually broken by"]
            for check in members:
                lines += [f"   * - :func:`~lwm_loss.testing.checks.{check.name}`"]
                lines += [f"     - {_prose(check.contract)}", f"     - {_prose(check.usual_cause)}"]
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines))


def _prose(sentence: str) -> str:
    """A sentence of plain text as markup: code in backticks stays, a star is a star."""
    return sentence.replace("*", r"\*").replace("`", "``")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("checks", CheckTables)
    return {"parallel_read_safe": True}
