"""Which numbers the label maps hold, and what they stand for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from examples.rgbd.commands.initial.frames import Frame, spread
from examples.rgbd.data.description import MOST_CLASSES, LabelFormat, check_names
from examples.rgbd.data.files.anything import read_numbers
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.options.commands import InitOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar

_LABELS_READ = 2000  # label maps that are counted, spread evenly
_USUAL_VOID = (255, 65535, -1)
_MANY = 1000  # classes that few data sets have
_ROWS = 40  # label values that are listed


def count_labels(root: Path, frames: list[Frame]) -> tuple[Counter[int], int]:
    """Pixels of each label value, and how many maps were read."""
    counts: Counter[int] = Counter()
    chosen = spread(frames, _LABELS_READ)
    for image, name, _ in progress_bar(chosen, "counting labels", unit="map"):
        try:
            stored = read_numbers(root / name, "a label map", whole=True)
        except DataError as error:
            if not counts and _is_label_map(root / image):
                raise DataError(
                    f"{error} {root / image}, which --images names, could be one: did you mean "
                    "--images and --labels the other way round?"
                ) from None
            raise
        values, found = np.unique(stored, return_counts=True)
        counts.update(dict(zip(values.tolist(), found.tolist(), strict=True)))
    return counts, len(chosen)


def _is_label_map(path: Path) -> bool:
    try:
        read_numbers(path, "a label map", whole=True)
    except DataError:
        return False
    return True


def find_classes(
    options: InitOptions, counts: Counter[int], names: tuple[str, ...] | None
) -> tuple[LabelFormat, tuple[str, ...]]:
    """What the label numbers mean, and the names of the classes."""
    if options.classes is not None:
        names = _read_names(options.classes)
    void = options.void
    if void is None:
        void = tuple(v for v in _USUAL_VOID if v in counts and _stands_apart(v, counts, names))
        if void:
            print(f"guessed  void is {', '.join(map(str, void))}, apart from the others (--void)")
    used = sorted(value for value in counts if value not in void)
    if not used:
        raise DataError("Expected labels other than void, but there are none.")
    first = options.first_class
    if first is None:
        first = used[0]
        if first not in (0, 1):
            first = 0
        void_too = "" if first else "; --void 0 if 0 is no class"
        print(f"guessed  class 0 is number {first} in the label maps (--first-class{void_too})")
    count = options.num_classes or (len(names) if names else max(used[-1] - first + 1, 2))
    outside = [value for value in used if not first <= value < first + count]
    if outside:
        raise DataError(
            f"Expected labels {first}..{first + count - 1} and {', '.join(map(str, void)) or 'no'} "
            f"void, but found {outside[0]}: did you mean another --first-class, --num-classes or "
            "--void?"
        )
    if count > MOST_CLASSES:
        raise DataError(
            f"Expected at most {MOST_CLASSES} classes, but the labels need {count}: are these "
            "numbers of instances, or is a value of theirs void?"
        )
    if names is not None and len(names) != count:
        raise OptionError(
            f"Expected as many class names as classes, {count}, but got {len(names)}."
        )
    if names is None:
        names = tuple(f"class {number}" for number in range(count))
        print(f"guessed  {count} classes, named by number (--classes NAMES.txt)")
        if count > _MANY:
            print("         that is a great many: are these depth maps, or numbers of instances?")
    clash = [value for value in void if first <= value < first + count]
    if clash:
        raise OptionError(
            f"Expected --void other than the classes' numbers {first}..{first + count - 1}, but "
            f"got {clash[0]}."
        )
    if not void and first == 0:
        void = (255,) if count <= 255 else (65535,)
    elif not void:
        void = (0,) if first > 0 else ()
    return LabelFormat(first, tuple(void)), names


def _stands_apart(void: int, counts: Counter[int], names: tuple[str, ...] | None) -> bool:
    """Whether a usual number of void cannot be just the last class."""
    if void < 0 or (names is not None and len(names) <= void):
        return True
    return void - 1 not in counts


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"Expected class names in {path}, but it cannot be read: {error}."
        ) from None
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < 2:
        raise OptionError(f"Expected at least 2 class names in {path}, but got {len(names)}.")
    check_names(names, path)
    return names


def print_labels(
    counts: Counter[int], label: LabelFormat, classes: tuple[str, ...], looked: int, total: int
) -> None:
    """Print the share of each number and what it stands for."""
    pixels = sum(counts.values())
    part = "" if looked == total else f" (in {looked} of {total} maps)"
    print(f"labels   {len(counts)} different numbers{part}")
    for value, count in sorted(counts.items())[:_ROWS]:
        name = "void" if value in label.void else classes[value - label.first_class]
        print(f"         {value:6d}  {count / pixels:7.2%}  {name}")
    if len(counts) > _ROWS:
        print(f"         ... and {len(counts) - _ROWS} more")
    absent = len(classes) - sum(value not in label.void for value in counts)
    if absent:
        print(f"         {absent} of {len(classes)} classes do not occur")
