"""The command `init`: describes a folder, divides its frames, and tells what it had to guess."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from pathlib import Path
from typing import Any

from examples.rgbd.commands.initial.depth import find_depth
from examples.rgbd.commands.initial.division import divide
from examples.rgbd.commands.initial.frames import find_frames
from examples.rgbd.commands.initial.labels import count_labels, find_classes, print_labels
from examples.rgbd.data.description import MANIFEST, TAKEN_NAMES, Description
from examples.rgbd.data.files.atomic import write_bytes
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.presets import PRESETS
from examples.rgbd.options.commands import InitOptions
from examples.rgbd.options.groups import OptionError


def init(options: InitOptions) -> None:
    """Write ``dataset.json`` and the lists, and print what was found."""
    root = options.folder.expanduser()
    if not root.is_dir():
        raise DataError(f"Expected a folder at {root}, but there is none.")
    options, names, test_list = _with_preset(options)
    _check(options, root)
    frames = find_frames(root, options)
    counts, looked = count_labels(root, frames)
    label, classes = find_classes(options, counts, names)
    print_labels(counts, label, classes, looked, len(frames))
    depth, near, far = find_depth(root, frames, options)
    train, test = divide(frames, options, test_list, root)
    description = Description(
        name=options.name or _default_name(root),
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
    print(f"next     python -m examples.rgbd.verify {shlex.quote(str(root))}")


def _default_name(root: Path) -> str:
    """The folder's name, or another where that stands for a data set of its own kind."""
    name = root.resolve().name or "data"
    if name in TAKEN_NAMES:
        name += "-described"
        print(f"guessed  the data set's name is {name} (--name)")
    return name


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
            unsaid = "or a --preset, but got neither."
            if options.preset != "none":
                unsaid = f"which --preset {options.preset} does not know, but got none."
            raise OptionError(
                f"Expected --{name} with the pattern of the {name} below {root}, such as "
                f"'{name}/*.png', {unsaid}"
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
    if options.name in TAKEN_NAMES:
        raise OptionError(f"Expected --name other than {options.name}, which stands for another.")
    there = [name for name in (MANIFEST, "train.txt", "test.txt") if (root / name).exists()]
    if there and not options.overwrite:
        raise OptionError(
            f"Expected a folder that is not described yet, but {root} has {' and '.join(there)}: "
            "did you mean --overwrite?"
        )
