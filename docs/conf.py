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
    "check_tables",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
default_role = "code"
nitpicky = True  # with -W a name that leads nowhere is an error

html_theme = "furo"
html_title = f"lwm-loss {release}"
html_static_path = ["_static"]
html_css_files = ["reading.css"]

autodoc_member_order = "bysource"
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


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("missing-reference", find_public_name)
