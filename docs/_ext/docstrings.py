"""Sphinx extension: a docstring shows its example first, and its arguments as a table."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from related import equation_of, see_also

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example|Examples|Note|Yields|See Also):$")
ARGUMENT = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)$")


def split_sections(lines: list[str]) -> list[list[str]]:
    """Cut a Google-style docstring: the text before the first section, then each section."""
    sections: list[list[str]] = [[]]
    for line in lines:
        if SECTION.match(line):
            sections.append([])
        sections[-1].append(line)
    return sections


def example_first(sections: list[list[str]]) -> list[list[str]]:
    """Move the example between the first sentence and the rest of the text."""
    examples = [each for each in sections[1:] if each[0].startswith("Example")]
    if not examples:
        return sections
    text = sections[0]
    end = text.index("") if "" in text else len(text)
    rest = [each for each in sections[1:] if each not in examples]
    return [[*text[:end], ""], *[[*each, ""] for each in examples], text[end:], *rest]


def argument_table(section: list[str], parameters: dict[str, inspect.Parameter]) -> list[str]:
    """Set the arguments of a function as a table: name, default, meaning."""
    rows: list[tuple[str, list[str]]] = []
    for line in section[1:]:
        if found := ARGUMENT.match(line):
            rows.append((found[1], [found[2]]))
        elif rows and line.strip():
            rows[-1][1].extend(_continued(rows[-1][1], line))
    if not rows:
        return section
    table = [".. list-table:: Arguments", "   :header-rows: 1", "   :widths: 22 18 60"]
    table += ["   :class: arguments", "", "   * - Argument", "     - Default", "     - Meaning"]
    for name, meaning in rows:
        default = "required"
        parameter = parameters.get(name.lstrip("*").split(",")[0])
        if parameter is not None and parameter.default is not inspect.Parameter.empty:
            default = f"``{parameter.default!r}``"
        if name.startswith("*") or parameter is None:
            default = ""
        table += [f"   * - ``{name}``", f"     - {default}", f"     - {meaning[0]}"]
        table += [f"       {line}" for line in meaning[1:]]
    return ["", *table, ""]


def _continued(meaning: list[str], line: str) -> list[str]:
    """A further line of an argument's text, whose list of choices is a list in the table as well."""
    text = line.strip()
    in_list = any(each.startswith("- ") for each in meaning)
    if text.startswith("- "):
        return [text] if in_list else ["", text]
    return [f"  {text}"] if in_list else [text]


def rewrite(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Called by autodoc with each docstring, before napoleon reads it."""
    if not lines or what not in ("class", "exception", "function", "method"):
        return
    try:
        parameters = dict(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        parameters = {}
    sections = example_first(split_sections(lines))
    lines[:] = [
        line
        for each in sections
        for line in (argument_table(each, parameters) if each[:1] == ["Args:"] else each)
    ]
    lines += ["", *equation_of(name), *see_also(name)]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
