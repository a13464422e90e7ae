"""Which files belong to one frame, and what is left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from examples.rgbd.data.files.anything import read_any_image
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import picture_size
from examples.rgbd.data.pairing import Pairs, find, likely_pattern, pair
from examples.rgbd.options.commands import InitOptions

_SIZES_READ = 2000  # images whose header is read, spread evenly
_SHOWN = 3  # names that are given as examples

Frame = tuple[str, str, str | None]
"""Image, label and depth, as paths below the folder."""


def find_frames(root: Path, options: InitOptions) -> list[Frame]:
    """Image, label and depth of each frame that has an image and a label."""
    image_pattern, label_pattern = options.images or "", options.labels or ""
    images = find(root, image_pattern, "images")
    labels = find(root, label_pattern, "labels")
    labelled = set(labels)
    images = [name for name in images if name not in labelled]
    depths = find(root, options.depth, "depth") if options.depth else []
    images = [name for name in images if name not in set(depths)]
    pairs = _pairs(root, images, labels, image_pattern, label_pattern, "labels")
    label_of = pairs.partners
    depth_pairs = Pairs({}, "")
    if depths:
        depth_pairs = _pairs(root, images, depths, image_pattern, options.depth or "", "depth maps")
    depth_of = depth_pairs.partners
    print(f"found    {len(images)} images, {len(labels)} labels, {len(depths)} depth maps")
    _tell("images without a label, left out", [name for name in images if name not in label_of])
    _tell("labels without an image", sorted(labelled - set(label_of.values())))
    _tell_how("labels", pairs, images, labels)
    if depths:
        without = [name for name in images if name in label_of and name not in depth_of]
        _tell("images without depth, in which nothing is mined", without)
        _tell("depth maps without an image", sorted(set(depths) - set(depth_of.values())))
        _tell_how("depth maps", depth_pairs, images, depths)
    frames = [(name, label_of[name], depth_of.get(name)) for name in images if name in label_of]
    whole = next((frame for frame in frames if frame[2]), frames[0])
    print(f"such as  {', '.join(part for part in whole if part)}")
    sizes = Counter(_size(root / name) for name, _, _ in spread(frames, _SIZES_READ))
    shown = ", ".join(f"{h} x {w}: {n}" for (h, w), n in sizes.most_common(_SHOWN))
    more = f" and {len(sizes) - _SHOWN} other sizes" if len(sizes) > _SHOWN else ""
    print(f"sizes    {shown}{more}")
    tabs = [part for frame in frames for part in frame if part and "\t" in part]
    if tabs:
        raise DataError(f"Expected names without tabs, but got {tabs[0]!r}.")
    if len(frames) < 2:
        raise DataError(f"Expected at least 2 frames below {root}, but got {len(frames)}.")
    return frames


def _pairs(
    root: Path, images: list[str], others: list[str], pattern: str, other_pattern: str, kind: str
) -> Pairs:
    """Images and what belongs to them.

    Raises:
        DataError: no image has a partner.
    """
    pairs = pair(images, others, pattern, other_pattern) if images else Pairs({}, "")
    if pairs.partners:
        return pairs
    likely = likely_pattern(images, others)
    raise DataError(
        f"Expected images and {kind} below {root} whose names belong together, but none of "
        f"{len(images)} images, such as {(images or ['none'])[0]}, matches any of {len(others)} "
        f"{kind}, such as {others[0]}: "
        + (
            f"did you mean the pattern {likely!r}?"
            if likely
            else "do they differ in more than what the wildcards stand for?"
        )
    )


def _tell_how(kind: str, pairs: Pairs, images: Sequence[str], others: Sequence[str]) -> None:
    """Tell what of a pairing nobody has said, and what looks as if it were shifted by one."""
    if pairs.by:
        print(f"guessed  images and {kind} belong together by {pairs.by}")
    if len(images) == len(others) > len(pairs.partners):
        print(
            f"         as many {kind} as images, and yet some without a partner: are they numbered "
            "from 0 here and from 1 there, or do the patterns name different scenes?"
        )


def _size(path: Path) -> tuple[int, int]:
    if path.suffix.lower() == ".npy":
        height, width = read_any_image(path).shape[:2]
        return height, width
    return picture_size(path)


def _tell(what: str, names: Sequence[str]) -> None:
    if names:
        more = " ..." if len(names) > _SHOWN else ""
        print(f"         {len(names)} {what}: {', '.join(names[:_SHOWN])}{more}")


def spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Some frames, spread evenly."""
    count = min(count, len(frames))
    return [frames[(2 * place + 1) * len(frames) // (2 * count)] for place in range(count)]
