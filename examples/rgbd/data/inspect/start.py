"""What is looked at before a run begins, so that it does not end hours later for a missing file."""

from __future__ import annotations

import numpy as np

from examples.rgbd.data.dataset import Files, FrameSource
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import void_of
from examples.rgbd.progress import progress_bar

_LOOKED_AT = 12  # frames that are read, spread evenly
_MOST_OUTSIDE = 0.95  # share of depth beyond near and far from which nothing can be learnt
_COARSE = 13  # classes of NYUDv2's coarse labels


def check_splits(train: FrameSource, test: FrameSource) -> None:
    """See that no frame is trained on and tested.

    Raises:
        DataError: one is.
    """

    def places(frames: FrameSource) -> dict[tuple[str, str], int]:
        # Frames of one container differ in their names alone.
        return {
            (str(frames.files(index).image), str(frames.files(index).label) + name): index
            for index, name in enumerate(frames.names)
        }

    seen = places(train)
    shared = [key for key in places(test) if key in seen]
    if shared:
        raise DataError(
            f"Expected no frame in both splits, but {len(shared)} of {len(test)} test frames, such "
            f"as {shared[0][0]}, are among the training frames: are the two lists the same?"
        )


def check_files(frames: FrameSource, quiet: bool = False) -> None:
    """See that every file of a split exists. Nothing is read.

    Raises:
        DataError: one does not.
    """
    known: set[str] = set()  # a container holds many frames
    kinds = ("the image", "the label map", "the depth map")
    bar = progress_bar(
        range(len(frames)), f"looking for {frames.split} files", unit="frame", disable=quiet
    )
    for index in bar:
        files: Files = frames.files(index)
        wanted = files if frames.use_depth == "required" else files[:2]
        for kind, path in zip(kinds, wanted, strict=False):
            if path is None or str(path) in known:
                continue
            if not path.is_file():
                raise DataError(
                    f"Expected {kind} of {frames.split} frame {frames.names[index]} at {path}, but "
                    "there is no such file: is the folder incomplete, or in another layout?"
                )
            if path.suffix in (".mat",):
                known.add(str(path))
        for which, path in frames.geometry_files(index).items() if frames.geometry else ():
            if which in frames.geometry and not path.is_file():
                raise DataError(
                    f"Expected {which} of {frames.split} frame {frames.names[index]} at {path}, but "
                    f"there is no such file: was prepare --{which} interrupted? It goes on where it "
                    "stopped."
                )


def check_frames(frames: FrameSource, limits: tuple[float, float]) -> None:
    """Read a few frames, and see that their depth and labels can be what they are taken for.

    Args:
        frames: the training split.
        limits: (near, far), between which depth is told apart.

    Raises:
        DataError: a frame cannot be read, nearly all depth lies beyond the limits, or the labels are
            those of fewer classes.
    """
    count = min(_LOOKED_AT, len(frames))
    outside, known, greatest, medians = 0, 0, -1, []
    for place in range(count):
        sample = frames[(2 * place + 1) * len(frames) // (2 * count)]
        seen = sample.depth[sample.depth > 0]
        known += seen.size
        outside += int(np.count_nonzero((seen <= limits[0]) | (seen >= limits[1])))
        if seen.size:
            medians.append(float(np.median(seen)))
        labelled = sample.label[sample.label != void_of(sample.label)]
        greatest = max(greatest, int(labelled.max()) if labelled.size else -1)
    if frames.metric and known and outside > _MOST_OUTSIDE * known:
        raise DataError(
            f"Expected depth between near and far, {limits[0]:g} and {limits[1]:g} m, but "
            f"{outside / known:.0%} of it in {count} {frames.split} frames lies outside, with a "
            f"median of {np.median(medians):.4g} m: is it in another unit, or did you mean other "
            "values of --near and --far?"
        )
    if frames.use_depth == "required" and not known:
        raise DataError(
            f"Expected depth in some of {count} {frames.split} frames, but none has any: did you "
            "mean --objective s, which needs none, or to estimate it first "
            "(python -m examples.rgbd.estimate_depth)?"
        )
    whole = frames.spec.indoor and len(frames.classes) > _COARSE and count == _LOOKED_AT
    if whole and 0 <= greatest < _COARSE:
        raise DataError(
            f"Expected the {len(frames.classes)} classes of {frames.spec.title}, but no label in "
            f"{count} {frames.split} frames is beyond class {greatest}: are these its 13 coarse "
            "classes? python -m examples.rgbd.init describes a folder that holds them."
        )
