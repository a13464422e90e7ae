"""Sphinx extension: matplotlib's animations need no font from the network, and say what they show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

# matplotlib's player draws its buttons with a font of icons that it links to.
SYMBOLS = {
    "minus": "\N{MINUS SIGN}",
    "fast-backward": "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}",
    "step-backward": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
    "play fa-flip-horizontal": "\N{BLACK LEFT-POINTING POINTER}",
    "pause": "||",
    "play": "\N{BLACK RIGHT-POINTING POINTER}",
    "step-forward": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    "fast-forward": "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}",
    "plus": "+",
}
FONT = re.compile(r'<link rel="stylesheet"\s+href="https://[^"]*font-awesome[^"]*">')
BUTTON = re.compile(r'<i class="fa fa-([a-z -]+)"></i>')
PICTURE = '<img id="_anim_img'


def make_whole(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Called by Sphinx with each page before it is written."""
    body = context.get("body", "")
    if PICTURE not in body:
        return
    body = FONT.sub("", body)
    body = BUTTON.sub(lambda found: SYMBOLS[found[1]], body)
    text = f"Animation: {context['title']}"
    context["body"] = body.replace(PICTURE, f'<img alt="{text}" id="_anim_img')


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.connect("html-page-context", make_whole)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
