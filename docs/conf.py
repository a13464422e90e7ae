"""Sphinx configuration; `sphinx-build -W --keep-going -b html docs docs/_build/html` builds."""

from __future__ import annotations

import doctest
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

# The pages describe this checkout, not a release that happens to be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

import lwm_loss

project = "lwm-loss"
author = "The lwm-loss developers"
project_copyright = author
version = release = lwm_loss.__version__

extensions = [
    "animations",
    "check_tables",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "notfound.extension",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinxext.opengraph",
    "docstrings",
    "mathml",
]
exclude_patterns = ["_build", "gallery/README.rst"]
templates_path = ["_templates"]
default_role = "code"
nitpicky = True  # with -W a name that leads nowhere is an error

html_theme = "furo"
html_title = f"lwm-loss {release}"
html_static_path = ["_static"]
html_css_files = ["reading.css"]
html_js_files = [("versions.js", {"defer": "defer"})]
html_favicon = "_static/favicon.svg"
html_math_renderer = "mathml"
html_theme_options = {
    "source_repository": "https://github.com/lwm-loss/lwm-loss",
    "source_branch": "main",
    "source_directory": "docs/",
}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
        "sidebar/versions.html",
        "sidebar/variant-selector.html",
    ]
}

# What a link to a page shows elsewhere.
ogp_site_url = os.environ.get(
    "READTHEDOCS_CANONICAL_URL", "https://lwm-loss.readthedocs.io/en/latest/"
)
ogp_image = "https://lwm-loss.readthedocs.io/en/latest/_static/social_card.png"
ogp_image_alt = "A room, its depth, and the loss weights that its hard pixels get"
ogp_social_cards = {"enable": False}  # they would be drawn with a font from the network
ogp_enable_meta_description = True
html_baseurl = ogp_site_url

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "matplotlib_animations": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "plot_gallery": os.environ.get("GALLERY", "1") == "1",
}
myst_heading_anchors = 2
suppress_warnings = ["myst.header", "config.cache"]

autodoc_member_order = "bysource"
autodoc_mock_imports = ["lightning"]  # named in the reference, and no dependency of the pages
# In the signature, which alone tells a class's arguments from attributes of the same name.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes as a list, not each as an entry of its own
napoleon_use_rtype = False  # a return often begins with a shape, which is no Python type

doctest_default_flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
doctest_global_setup = """
import importlib.util

import torch
from torch import nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss import *
from lwm_loss.functional import *
from lwm_loss.plotting import plot_weight_maps
from lwm_loss.testing import *

has_kornia = importlib.util.find_spec("kornia") is not None
has_monai = importlib.util.find_spec("monai") is not None
torch.manual_seed(0)
"""

# Links to other projects need their inventories from the network, and a build whose warnings are
# errors must not depend on one. So they are made where the pages are published (Read the Docs
# sets READTHEDOCS), or on request by DOCS_ONLINE=1. Any other build leaves those names unlinked.
intersphinx_mapping = {}
nitpick_ignore_regex = [
    ("py:.*", r"(torch|collections|typing|numpy|matplotlib|hypothesis)\..*"),
    ("py:class", r"Tensor|Figure|Array|Float|Cells|Pixel|Region|Criterion|Status"),  # foreign
    ("py:class", r".* .*"),  # prose before a colon, which napoleon takes for a type
]
if os.environ.get("READTHEDOCS") or os.environ.get("DOCS_ONLINE"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }


def find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Node | None:
    """Leads the short names of docstrings, :func:`fuse` say, to where they are documented.

    A docstring names what stands beside it in its own module; the pages document the public
    names `lwm_loss.X` and `lwm_loss.functional.X`.
    """
    name = node.get("reftarget", "").rpartition(".")[2]
    home = "lwm_loss.functional" if name in lwm_loss.functional.__all__ else "lwm_loss"
    domain = env.domains["py"]
    if node.get("refdomain") != "py" or f"{home}.{name}" not in domain.objects:
        return None
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"{home}.{name}", node, contnode
    )


def skip_tuple_fields(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out the "Alias for field number 0" of named tuples, whose docstrings list them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def link_to_sources(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Leads "edit this page" of a generated page to the file that it is made from."""
    if pagename.startswith("auto_gallery/") and pagename != "auto_gallery/index":
        source = f"docs/gallery/{pagename.removeprefix('auto_gallery/')}.py"
    elif pagename.startswith("api/generated/"):
        parts = pagename.removeprefix("api/generated/").split(".")
        thing = getattr(sys.modules[".".join(parts[:-1])], parts[-1])
        source = f"{thing.__module__.replace('.', '/')}.py"
    else:
        return
    context["theme_source_edit_link"] = f"https://github.com/lwm-loss/lwm-loss/edit/main/{source}"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("html-page-context", link_to_sources)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("missing-reference", find_public_name)
