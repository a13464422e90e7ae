"""Run the body of a check, and print it when it fails: what runs is what is printed."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .expect import Breach, CheckSkipped
from .isolation import seed_all
from .scenes import Scene


def perform(
    body: Callable[..., Any],
    subject: Mapping[str, Any],
    setup: Sequence[str],
    scenes: Sequence[Scene],
    constants: Mapping[str, Any],
    plain: Mapping[str, Callable[[], Scene]],
) -> Any:
    """Run the body of a check on a subject and on the tensors of scenes.

    Args:
        body: a function of the module of a check. Its arguments are named after the tensors and
            functions of the scenes, the subject, and the constants. What it raises is the finding.
        subject: the subject by the name that it goes by in snippets.
        setup: the lines of code that prepare it.
        scenes: what makes the tensors.
        constants: further arguments; their ``repr`` is code.
        plain: what makes a scene of an argument, where the scenes do not have it.

    Raises:
        Breach: the body failed. The snippet is made of the code of the scenes and of the body.
    """
    names = list(inspect.signature(body).parameters)
    made = {name for scene in scenes for name in scene.values}
    lacking = [name for name in plain if name in names and name not in made]
    scenes = [*scenes, *(plain[name]() for name in lacking)]
    values = {**subject, **constants}
    for scene in scenes:
        values.update(scene.fresh())
    seed_all(0)
    try:
        return body(**{name: values[name] for name in names if name in values})
    except CheckSkipped:
        raise
    except Exception as error:
        finding = error.finding if isinstance(error, Breach) else raised(error)
        arguments = [
            f"{name}={constants[name]!r}" if name in constants else name
            for name in names
            if name in values
        ]
        call = f"{body.__name__}({', '.join(arguments)})"
        lines = [*setup, *(scene.code for scene in scenes), call]
        raise Breach(finding, _snippet(body, lines)) from (
            error.__cause__ if isinstance(error, Breach) else error
        )


def raised(error: Exception) -> str:
    """Describe an exception of the subject."""
    message = textwrap.shorten(str(error), 300) or "no message"
    return f"it raised {type(error).__name__}: {message.rstrip('.')}"


def _snippet(body: Callable[..., Any], lines: Iterable[str]) -> str:
    """Join imports, the source of the body, and the lines that prepare and call it."""
    code = "\n".join(lines).splitlines()
    imports, definitions = source_of(body)
    heads = {*imports, "import torch", *(line for line in code if _is_import(line))}
    rest = [line for line in code if not _is_import(line)]
    if re.search(r"\b(inf|nan)\b", "\n".join(rest)):
        heads.add("from math import inf, nan")
    return "\n\n".join(["\n".join(_sorted_imports(heads)), *definitions, "\n".join(rest)])


def _sorted_imports(lines: Iterable[str]) -> list[str]:
    """Join the imports of names from one module."""
    plain = {line for line in lines if line.startswith("import ")}
    names: dict[str, list[str]] = {}
    for line in sorted({*lines} - plain):
        home, _, name = line.removeprefix("from ").partition(" import ")
        names.setdefault(home, []).append(name)
    return sorted(plain) + [f"from {home} import {', '.join(names[home])}" for home in names]


def _is_import(line: str) -> bool:
    return line.startswith(("import ", "from "))


@functools.cache
def source_of(function: Callable[..., Any]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the imports that a function of a module needs, and its source.

    The source begins with that of the functions and constants of its module that it uses.
    """
    module = sys.modules[function.__module__]
    try:
        text = inspect.getsource(module)
    except OSError:  # installed without sources
        return frozenset([f"from {module.__name__} import {function.__name__}"]), ()
    imported, defined = _names_of(module.__name__, text)
    lines = text.splitlines()
    imports: set[str] = set()
    used: dict[str, ast.stmt] = {}
    waiting = [function.__name__]
    while waiting:
        name = waiting.pop()
        if name in imported:
            imports.add(imported[name])
        elif name in defined and name not in used:
            used[name] = defined[name]
            nodes = ast.walk(defined[name])
            waiting += [node.id for node in nodes if isinstance(node, ast.Name)]
    places = sorted({(node.lineno - 1, node.end_lineno) for node in used.values()})
    blocks = ("\n".join(filter(str.strip, lines[start:end])) for start, end in places)
    return frozenset(imports), tuple(blocks)


@functools.cache
def _names_of(module: str, text: str) -> tuple[dict[str, str], dict[str, ast.stmt]]:
    """The names that a module imports, with the line that does, and those that it defines."""
    imported: dict[str, str] = {}
    defined: dict[str, ast.stmt] = {}
    package = module.rpartition(".")[0]
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                line = ast.unparse(ast.Import([alias]))
                if isinstance(node, ast.ImportFrom):
                    path = "." * node.level + (node.module or "")
                    line = f"from {importlib.util.resolve_name(path, package)} {line}"
                imported[alias.asname or alias.name] = line
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.decorator_list = []  # what registers a check is not part of it
            defined[node.name] = node
        elif isinstance(node, ast.Assign):
            targets = ast.walk(node.targets[0])
            defined.update((each.id, node) for each in targets if isinstance(each, ast.Name))
    return imported, defined
