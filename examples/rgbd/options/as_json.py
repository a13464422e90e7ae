"""Configurations as JSON, for `config.json` and checkpoints."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from examples.rgbd.options.groups import OptionError

T = TypeVar("T")


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration as numbers, strings, lists and dictionaries."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def from_plain(kind: type[T], plain: dict[str, Any]) -> T:
    """The inverse of `to_plain`. Options that the stored configuration lacks get their default.

    Raises:
        OptionError: for an option that does not exist (any more).
    """
    hints = get_type_hints(kind)
    unknown = sorted(set(plain) - set(hints))
    if unknown:
        raise OptionError(f"Expected options of {kind.__name__}, but got {unknown[0]!r}.")
    return kind(**{name: _revive(hints[name], value) for name, value in plain.items()})


def _revive(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value)  # type: ignore[arg-type]
    if get_origin(hint) in (Union, types.UnionType) and value is not None:
        hint = next(choice for choice in get_args(hint) if choice is not type(None))
    if hint is Path:
        return None if value is None else Path(value)
    return tuple(value) if isinstance(value, list) else value
