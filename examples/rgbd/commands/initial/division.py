"""Which frames are trained on and which are tested."""

from __future__ import annotations

import random
import re
from pathlib import Path

from examples.rgbd.commands.initial.frames import Frame
from examples.rgbd.data.dataset import read_lines
from examples.rgbd.options.commands import InitOptions
from examples.rgbd.options.groups import OptionError


def divide(
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
