"""Which files of a folder belong to one frame: matched by the parts of their names that vary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from examples.rgbd.data.files.errors import DataError

Key = tuple[str, ...]


class Pairs(NamedTuple):
    """Which files belong together.

    Attributes:
        partners: the partner of each image that has one.
        by: what of their names is the same; empty if it is what the wildcards stand for, which
            is what the user has said.
    """

    partners: dict[str, str]
    by: str


_TRIED = 3  # names for which a likelier pattern is sought


def find(root: Path, pattern: str, kind: str) -> list[str]:
    """The files below a folder that a pattern matches, sorted, with forward slashes.

    Raises:
        DataError: there are none, or the pattern leads out of the folder.
    """
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise DataError(
            f"Expected a pattern of {kind} below {root}, such as 'rgb/*.png', but got {pattern!r}."
        )
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.glob(pattern)
        if path.is_file() and not path.name.startswith(".")
    )
    if not found:
        likely = "is the pattern quoted, and relative to the folder?"
        if next(root.rglob("*.parquet"), None) is not None:
            likely = (
                "the folder holds .parquet tables: save their images and labels as files first "
                "(datasets.load_dataset, then image.save), and describe that folder."
            )
        raise DataError(f"Expected {kind} as {pattern!r} below {root}, but found none: {likely}")
    return found


def _wildcards(pattern: str) -> Callable[[str], Key | None]:
    """What the wildcards of a pattern stand for in a name."""
    parts = []
    for token in re.split(r"(\*\*/|\*|\?|\[[^\]]*\])", pattern):
        if token == "**/":
            parts.append(r"((?:[^/]+/)*)")
        elif token == "*":
            parts.append(r"([^/]*)")
        elif token == "?":
            parts.append(r"([^/])")
        elif token.startswith("["):
            parts.append("(" + token.replace("[!", "[^") + ")")
        else:
            parts.append(re.escape(token))
    compiled = re.compile("".join(parts))

    def key(name: str) -> Key | None:
        match = compiled.fullmatch(name)
        return None if match is None else match.groups()

    return key


def _stem(name: str) -> Key | None:
    return (Path(name).stem,)


def _numbers(name: str) -> Key | None:
    """The numbers in the last part of a name, without leading zeros."""
    return tuple(str(int(number)) for number in re.findall(r"\d+", Path(name).stem)) or None


def _without_ending(key: Callable[[str], Key | None]) -> Callable[[str], Key | None]:
    """The same, where the last wildcard may stand for an ending such as ``jpg`` too."""

    def shorter(name: str) -> Key | None:
        found = key(name)
        return None if found is None else (*found[:-1],)

    return shorter


def pair(
    images: Sequence[str], others: Sequence[str], image_pattern: str, other_pattern: str
) -> Pairs:
    """Pair images with labels or depth.

    Names are compared by what the wildcards stand for, else by their stems, else by the numbers in
    them: the first of these that tells all images and all partners apart and pairs most.
    """
    ours, theirs = _wildcards(image_pattern), _wildcards(other_pattern)
    ways: list[tuple[str, Callable[[str], Key | None], Callable[[str], Key | None]]] = [
        ("", ours, theirs)
    ]
    if image_pattern.endswith(".*") or other_pattern.endswith(".*"):
        ways.append(
            (
                "",
                _without_ending(ours) if image_pattern.endswith(".*") else ours,
                _without_ending(theirs) if other_pattern.endswith(".*") else theirs,
            )
        )
    ways += [
        ("their names without folder and ending", _stem, _stem),
        ("the numbers in their names", _numbers, _numbers),
    ]
    best = Pairs({}, "")
    for by, image_key, other_key in ways:
        keys = [other_key(name) for name in others]
        if None in keys or max(Counter(keys).values()) > 1:
            continue
        partners = {key: name for key, name in zip(keys, others, strict=True) if key is not None}
        own = [image_key(name) for name in images]
        if None in own or max(Counter(own).values()) > 1:
            continue
        found = {
            name: partners[key]
            for name, key in zip(images, own, strict=True)
            if key is not None and key in partners
        }
        if len(found) > len(best.partners):
            best = Pairs(found, by)
    return best


def likely_pattern(images: Sequence[str], others: Sequence[str]) -> str:
    """A pattern by which names that have no partner would find one, or nothing.

    That of names which hold those of the others, as ``a_mask.png`` does of ``a.jpg``.
    """
    for shorter, longer in ((images, others), (others, images)):
        for name in shorter[:_TRIED]:
            stem = Path(name).stem
            for other in longer:
                place = Path(other)
                if stem != place.stem and stem in place.stem:
                    return place.with_name(place.name.replace(stem, "*", 1)).as_posix()
    return ""
