"""Which files belong to one frame, and what is left over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from examples.rgbd.data.files.anything import read_any_image
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import picture_size
from examples.rgbd.data.pairing import find, pair
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
    print(f"such as  {', '.join(part for part in frames[0] if part)}")
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
