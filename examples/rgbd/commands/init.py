"""The command `init`: describes a folder, divides its frames, and tells what it had to guess."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.rgbd.data.dataset import read_lines
from examples.rgbd.data.description import (
    MANIFEST,
    MOST_CLASSES,
    DepthFormat,
    Description,
    LabelFormat,
)
from examples.rgbd.data.files.anything import read_any_image, read_numbers
from examples.rgbd.data.files.atomic import write_bytes
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import picture_size
from examples.rgbd.data.files.units import missing_at
from examples.rgbd.data.pairing import find, pair
from examples.rgbd.data.presets import PRESETS
from examples.rgbd.options.commands import InitOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar

_LABELS_READ = 2000  # label maps that are counted, spread evenly
_DEPTHS_READ = 200
_USUAL_VOID = (255, 65535, -1)
_SHOWN = 3  # names that are given as examples
_ROWS = 40  # label values that are listed

Frame = tuple[str, str, str | None]


def init(options: InitOptions) -> None:
    """Write ``dataset.json`` and the lists, and print what was found."""
    root = options.folder.expanduser()
    if not root.is_dir():
        raise DataError(f"Expected a folder at {root}, but there is none.")
    options, names, test_list = _with_preset(options)
    _check(options, root)
    frames = _frames(root, options)
    counts, looked = _count_labels(root, frames)
    label, classes = _classes(options, counts, names)
    _print_labels(counts, label, classes, looked, len(frames))
    depth, near, far = _depth(root, frames, options)
    train, test = _divide(frames, options, test_list, root)
    description = Description(
        name=options.name or root.resolve().name,
        classes=classes,
        near=near,
        far=far,
        label=label,
        depth=depth,
    )
    for split, chosen in (("train", train), ("test", test)):
        lines = "".join("\t".join(part for part in frame if part) + "\n" for frame in chosen)
        write_bytes(root / f"{split}.txt", lines.encode())
    write_bytes(root / MANIFEST, description.as_json().encode())
    print(f"written  {root / MANIFEST}, train.txt ({len(train)} frames), test.txt ({len(test)})")
    print(f"next     python -m examples.rgbd.verify {root}")


def _with_preset(options: InitOptions) -> tuple[InitOptions, tuple[str, ...] | None, str | None]:
    """The options with what a preset fills in, class names, and a list of test frames."""
    if options.preset == "none":
        return options, None, None
    usual = InitOptions(options.folder)
    preset = dict(PRESETS[options.preset])
    names, test_list = preset.pop("class_names", None), preset.pop("test_list", None)
    fill: dict[str, Any] = {
        key: value for key, value in preset.items() if getattr(options, key) == getattr(usual, key)
    }
    if options.classes is not None or options.num_classes is not None:
        names = None
    return dataclasses.replace(options, **fill), names, test_list


def _check(options: InitOptions, root: Path) -> None:
    for name in ("images", "labels"):
        if getattr(options, name) is None:
            raise OptionError(
                f"Expected --{name} with the pattern of the {name} below {root}, such as "
                f"'{name}/*.png', or a --preset, but got neither."
            )
    if not 0 < options.test_share < 1:
        raise OptionError(f"Expected --test-share in (0, 1), but got {options.test_share}.")
    for option in ("group", "test"):
        try:
            re.compile(getattr(options, option) or "")
        except re.error as error:
            raise OptionError(
                f"Expected a regular expression for --{option}, but got "
                f"{getattr(options, option)!r} ({error})."
            ) from None
    if options.depth_per_metre is not None and not (
        math.isfinite(options.depth_per_metre) and options.depth_per_metre > 0
    ):
        raise OptionError(f"Expected --depth-per-metre above 0, but got {options.depth_per_metre}.")
    if options.depth_per_metre is not None and (options.relative or options.inverse):
        raise OptionError(
            "Expected --depth-per-metre without --relative and --inverse, whose depth has no unit."
        )
    if options.name in ("rooms", "nyudv2", "sunrgbd"):
        raise OptionError(f"Expected --name other than {options.name}, which stands for another.")
    there = [name for name in (MANIFEST, "train.txt", "test.txt") if (root / name).exists()]
    if there and not options.overwrite:
        raise OptionError(
            f"Expected a folder that is not described yet, but {root} has {' and '.join(there)}: "
            "did you mean --overwrite?"
        )


# --- frames -------------------------------------------------------------------------------------


def _frames(root: Path, options: InitOptions) -> list[Frame]:
    """Image, label and depth of each frame that has an image and a label."""
    image_pattern, label_pattern = options.images or "", options.labels or ""
    images = find(root, image_pattern, "images")
    labels = find(root, label_pattern, "labels")
    labelled = set(labels)
    images = [name for name in images if name not in labelled]
    depths = find(root, options.depth, "depth") if options.depth else []
    images = [name for name in images if name not in set(depths)]
    label_of = pair(images, labels, image_pattern, label_pattern) if images else {}
    if not label_of:
        raise DataError(
            f"Expected images and labels below {root} whose names belong together, but none of "
            f"{len(images)} images, such as {(images or ['none'])[0]}, matches any of "
            f"{len(labels)} labels, such as {labels[0]}: do they differ in more than what the "
            "wildcards stand for?"
        )
    depth_of = pair(images, depths, image_pattern, options.depth or "") if depths else {}
    if depths and not depth_of:
        raise DataError(
            f"Expected images and depth below {root} whose names belong together, but none of "
            f"{len(images)} images, such as {images[0]}, matches any of {len(depths)} depth maps, "
            f"such as {depths[0]}."
        )
    print(f"found    {len(images)} images, {len(labels)} labels, {len(depths)} depth maps")
    _tell("images without a label, left out", [name for name in images if name not in label_of])
    _tell("labels without an image", sorted(labelled - set(label_of.values())))
    if depths:
        without = [name for name in images if name in label_of and name not in depth_of]
        _tell("images without depth, in which nothing is mined", without)
        _tell("depth maps without an image", sorted(set(depths) - set(depth_of.values())))
    frames = [(name, label_of[name], depth_of.get(name)) for name in images if name in label_of]
    sizes = Counter(_size(root / name) for name, _, _ in _spread(frames, _LABELS_READ))
    shown = ", ".join(f"{h} x {w}: {n}" for (h, w), n in sizes.most_common(_SHOWN))
    more = f" and {len(sizes) - _SHOWN} other sizes" if len(sizes) > _SHOWN else ""
    print(f"sizes    {shown}{more}")
    tabs = [part for frame in frames for part in frame if part and "\t" in part]
    if tabs:
        raise DataError(f"Expected names without tabs, but got {tabs[0]!r}.")
    if len(frames) < 2:
        raise DataError(f"Expected at least 2 frames below {root}, but got {len(frames)}.")
    return frames


def _size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() == ".npy":
        height, width = read_any_image(path).shape[:2]
        return height, width
    return picture_size(path)


def _tell(what: str, names: Sequence[str]) -> None:
    if names:
        more = " ..." if len(names) > _SHOWN else ""
        print(f"         {len(names)} {what}: {', '.join(names[:_SHOWN])}{more}")


def _spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    count = min(count, len(frames))
    return [frames[(2 * place + 1) * len(frames) // (2 * count)] for place in range(count)]


# --- labels -------------------------------------------------------------------------------------


def _count_labels(root: Path, frames: list[Frame]) -> tuple[Counter[int], int]:
    """Pixels of each label value, and how many maps were read."""
    counts: Counter[int] = Counter()
    chosen = _spread(frames, _LABELS_READ)
    for _, name, _ in progress_bar(chosen, "counting labels", unit="map"):
        values, found = np.unique(
            read_numbers(root / name, "a label map", True), return_counts=True
        )
        counts.update(dict(zip(values.tolist(), found.tolist(), strict=True)))
    return counts, len(chosen)


def _classes(
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
        print(f"guessed  class 0 is number {first} in the label maps (--first-class)")
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
    return names


def _print_labels(
    counts: Counter[int], label: LabelFormat, classes: tuple[str, ...], looked: int, total: int
) -> None:
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


# --- depth --------------------------------------------------------------------------------------


def _depth(
    root: Path, frames: list[Frame], options: InitOptions
) -> tuple[DepthFormat | None, float, float]:
    """What the depth maps hold, near and far."""
    near, far = options.near, options.far
    named = [frame[2] for frame in frames if frame[2] is not None]
    if not named:
        print("depth    none: train with --objective s, or estimate it first (estimate_depth)")
        return None, near or 0.5, far or 10.0
    chosen = [frame[2] for frame in _spread([f for f in frames if f[2]], _DEPTHS_READ)]
    samples, without, kinds = [], 0, Counter[str]()
    for name in progress_bar(chosen, "looking at depth", unit="map"):
        stored = read_numbers(root / str(name), "a depth map")
        kinds[str(stored.dtype)] += 1
        missing = (*options.missing, 65535) if stored.dtype == np.uint16 else options.missing
        values = stored[~missing_at(stored, (0, *missing))].astype(np.float64)
        without += not values.size
        samples.append(values[:: max(values.size // 2000, 1)])
    seen = np.concatenate(samples)
    if not seen.size:
        raise DataError(f"Expected depth in {named[0]} and the others, but no pixel has any.")
    (dtype, _), *_ = kinds.most_common(1)
    print(f"depth    {dtype}, {seen.min():.4g} to {seen.max():.4g} as stored, {len(chosen)} maps")
    if without:
        print(f"         {without} of them have no depth at all")
    missing_numbers = tuple(options.missing)
    if options.relative or options.inverse:
        if near is not None or far is not None:
            raise OptionError(
                "Expected no --near and --far with relative depth, which has no unit."
            )
        return DepthFormat(1.0, missing_numbers, "relative", options.inverse), 0.5, 10.0
    per_metre = options.depth_per_metre
    if per_metre is None:
        if dtype == "uint8":
            raise DataError(
                f"Expected depth in metres or millimetres in {named[0]}, but got 8 bits: say "
                "--relative (or --inverse) if it is stretched to each image's range, or "
                "--depth-per-metre if a step has one length in all images."
            )
        per_metre = 1.0 if dtype.startswith("float") else 1000.0
        unit = "metres" if per_metre == 1 else "millimetres"
        print(f"guessed  depth is in {unit} (--depth-per-metre)")
    metres = seen / per_metre
    low, high = (float(value) for value in np.quantile(metres, (0.005, 0.995)))
    chosen_near = _rounded(low, math.floor) if near is None else near
    chosen_far = _rounded(high, math.ceil) if far is None else far
    if near is None or far is None:
        print(
            f"guessed  near {chosen_near:g} m and far {chosen_far:g} m, which hold 99 % of the depth "
            f"(median {np.median(metres):.3g} m; --near, --far)"
        )
    if not 0 <= chosen_near < chosen_far:
        raise OptionError(
            f"Expected 0 <= --near < --far in metres, but got {chosen_near:g} and {chosen_far:g}."
        )
    return DepthFormat(per_metre, missing_numbers), chosen_near, chosen_far


def _rounded(value: float, towards: Any) -> float:
    """A length to two digits, outwards."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{towards(round(value / step, 6)) * step:.6g}")


# --- splits -------------------------------------------------------------------------------------


def _divide(
    frames: list[Frame], options: InitOptions, test_list: str | None, root: Path
) -> tuple[list[Frame], list[Frame]]:
    """Training and test frames."""
    if options.test is not None:
        pattern = re.compile(options.test)
        tested = [bool(pattern.search(image)) for image, _, _ in frames]
    elif test_list is not None and (root / test_list).exists():
        stems = {Path(line.split()[0]).stem for line in read_lines(root / test_list)}
        tested = [Path(image).stem in stems for image, _, _ in frames]
    else:
        tested = _by_share(frames, options)
    train = [frame for frame, other in zip(frames, tested, strict=True) if not other]
    test = [frame for frame, other in zip(frames, tested, strict=True) if other]
    if not train or not test:
        raise OptionError(
            f"Expected frames to train on and to test, but got {len(train)} and {len(test)} of "
            f"{len(frames)}: did you mean another --test, --group or --test-share?"
        )
    return train, test


def _by_share(frames: list[Frame], options: InitOptions) -> list[bool]:
    groups: dict[str, list[int]] = {}
    for index, (image, _, _) in enumerate(frames):
        groups.setdefault(_group_of(image, options.group), []).append(index)
    order = sorted(groups)
    random.Random(options.seed).shuffle(order)
    wanted = options.test_share * len(frames)
    tested = [False] * len(frames)
    taken = 0
    for name in order[:-1] or order:
        # The group whose middle lies beyond the share stays with the training frames.
        if taken and taken + len(groups[name]) / 2 > wanted:
            continue
        for index in groups[name]:
            tested[index] = True
        taken += len(groups[name])
        if taken >= wanted:
            break
    if options.group is None:
        print("guessed  each frame stands for itself; frames of one sequence need --group")
    else:
        sides = sum(tested[indices[0]] for indices in groups.values())
        print(f"groups   {len(groups)}: {len(groups) - sides} to train on, {sides} to test")
    return tested


def _group_of(image: str, pattern: str | None) -> str:
    if pattern is None:
        return image
    match = re.search(pattern, image)
    if match is None:
        raise OptionError(
            f"Expected --group to match every image's path, but {pattern!r} does not match {image}."
        )
    return match.group(1) if match.groups() else match.group(0)
