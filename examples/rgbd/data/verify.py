"""Look at every frame of a data set, and say what cannot be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from examples.rgbd.data.frame_facts import POSES, FrameFacts, frame_facts
from examples.rgbd.data.frame_pool import for_each_frame
from examples.rgbd.data.sample import VOID
from examples.rgbd.data.sources import SourceDataset, Split

_ENOUGH = 10  # frames from which a rule about many frames applies
_MEDIAN_DEPTH = (0.8, 6.0)  # metres, of all frames together: rooms are neither dolls' nor hangars
_MIRRORED = POSES.index("mirrored")
_MIRRORED_FRAME = 1.25  # how much better mirrored labels must fit in one frame ...
_TURNED_SPLIT = 1.05  # ... and turned ones on average over a split
_SHOWN = 20  # problems of one kind that are listed


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        split: "train" or "test".
        frames: the facts of the frames that can be read.
        problems: a sentence for each thing that cannot be right.
    """

    split: str
    frames: list[FrameFacts]
    problems: list[str] = field(default_factory=list)


def verify(
    splits: Mapping[Split, SourceDataset],
    split_sizes: Mapping[str, int] | None,
    workers: int = 4,
) -> list[SplitReport]:
    """Read every frame and apply every rule.

    Args:
        splits: "train" and "test", or one of them.
        split_sizes: how many frames each must have; None for a part of a data set. Then it is not
            a problem either if a class does not occur.
        workers: processes; 0 works in this one.
    """
    reports = []
    for split, dataset in splits.items():
        report = SplitReport(split, [])
        unreadable = []
        for facts in for_each_frame(frame_facts, dataset, workers, split):
            if isinstance(facts, str):
                unreadable.append(facts)
            else:
                report.frames.append(facts)
        report.problems += _shortened(unreadable)
        if split_sizes is not None and len(dataset) != split_sizes[split]:
            report.problems.append(
                f"Expected {split_sizes[split]} {split} frames, but the lists have {len(dataset)}."
            )
        if report.frames:
            for rule in (_repeated, _unlabelled, _turned, _depth_unit, _stretched):
                report.problems += _shortened(list(rule(report)))
            report.problems += _classes(report, dataset.classes, split_sizes is not None)
        reports.append(report)
    if len(reports) == 2:
        reports[1].problems += _shortened(list(_shared(*reports)))
    return reports


def _shortened(problems: list[str]) -> list[str]:
    more = len(problems) - _SHOWN
    return problems[:_SHOWN] + ([f"... and {more} more of this kind."] if more > 0 else [])


def _repeated(report: SplitReport) -> Iterator[str]:
    seen: dict[bytes, FrameFacts] = {}
    for facts in report.frames:
        other = seen.setdefault(facts.digest, facts)
        if other is not facts:
            yield (
                f"Expected different images, but {facts.files.image} (frame {facts.name}) repeats "
                f"frame {other.name}."
            )


def _shared(one: SplitReport, other: SplitReport) -> Iterator[str]:
    seen = {facts.digest: facts for facts in one.frames}
    for facts in other.frames:
        if facts.digest in seen:
            yield (
                f"Expected no frame in both splits, but {facts.files.image} (frame {facts.name} of "
                f"{other.split}) is frame {seen[facts.digest].name} of {one.split}."
            )


def _unlabelled(report: SplitReport) -> Iterator[str]:
    for facts in report.frames:
        if facts.histogram[VOID] == facts.histogram.sum():
            yield (
                f"Expected some labelled pixels in {facts.files.label} (frame {facts.name}), but "
                "all are void."
            )


def _classes(report: SplitReport, classes: tuple[str, ...], complete: bool) -> list[str]:
    """Rules that a label map read one off, or upside down, does not survive."""
    if len(report.frames) < _ENOUGH:
        return []
    histogram = np.sum([facts.histogram for facts in report.frames], axis=0)
    rows = np.sum([facts.rows for facts in report.frames], axis=0)
    example = report.frames[0].files.label
    absent = [name for name, count in zip(classes, histogram, strict=False) if not count]
    problems = []
    if classes[0] in absent:
        problems.append(
            f"Expected pixels of class 0 ({classes[0]}) in {report.split}, but there are none: are "
            f"the labels, such as {example}, read with the wrong offset?"
        )
    elif complete and absent:
        problems.append(
            f"Expected pixels of every class in {report.split}, but there are none of "
            f"{', '.join(absent)}: are the labels, such as {example}, read with the wrong offset?"
        )
    floor, ceiling = (classes.index(name) for name in ("floor", "ceiling"))
    if min(histogram[floor], histogram[ceiling]) > 0.001 * histogram.sum():
        low, high = (rows[k] / histogram[k] for k in (floor, ceiling))
        if low < high:
            problems.append(
                f"Expected the floor below the ceiling in {report.split}, but on average it lies "
                f"above: are the labels, such as {example}, upside down or one class off?"
            )
    return problems


def _turned(report: SplitReport) -> Iterator[str]:
    for what in ("image", "depth"):
        fits = [
            (facts, found)
            for facts in report.frames
            if (found := facts.image_fit if what == "image" else facts.depth_fit) is not None
        ]
        if not fits:
            continue
        mean = np.mean([found for _, found in fits], axis=0)
        best = int(mean.argmax())
        if best and mean[best] > _TURNED_SPLIT * mean[0] and len(fits) >= _ENOUGH:
            yield (
                f"Expected {what} and labels to be turned alike, but in {len(fits)} {report.split} "
                f"frames the labels fit better {POSES[best]}: look at "
                f"{getattr(fits[0][0].files, what)} beside {fits[0][0].files.label}."
            )
        elif what == "image":
            # A single frame is judged by its image only, since depth has too few edges, and only
            # for mirroring: a patterned blanket below would draw upside-down labels to itself.
            for facts, found in fits:
                if found[_MIRRORED] > _MIRRORED_FRAME * found[0]:
                    yield (
                        "Expected image and label to be turned alike, but the label "
                        f"{facts.files.label} fits {facts.files.image} better mirrored."
                    )


def _depth_unit(report: SplitReport) -> Iterator[str]:
    median = float(np.median([facts.depth[1] for facts in report.frames]))
    low, high = _MEDIAN_DEPTH
    if len(report.frames) >= _ENOUGH and not low <= median <= high:
        yield (
            f"Expected a median depth of {low} to {high} m in {report.split}, but it comes to "
            f"{median:.3g} m: is {report.frames[0].files.depth} stored in another unit?"
        )


def _stretched(report: SplitReport) -> Iterator[str]:
    ends = Counter((round(f.depth[0], 3), round(f.depth[2], 3)) for f in report.frames)
    (least, greatest), count = ends.most_common(1)[0]
    if len(report.frames) >= _ENOUGH and count > 0.9 * len(report.frames):
        yield (
            f"Expected depth in metres in {report.split}, but {count} frames all reach from "
            f"{least} to {greatest} m: is {report.frames[0].files.depth} stretched to a fixed "
            "range?"
        )


def describe(report: SplitReport, classes: tuple[str, ...]) -> str:
    """The facts of a split as a table for people."""
    frames = report.frames
    lines = [f"{report.split}: {len(frames)} readable frames"]
    if frames:
        sizes = Counter(facts.size for facts in frames).most_common()
        histogram = np.sum([facts.histogram for facts in frames], axis=0)
        labelled = max(int(histogram.sum() - histogram[VOID]), 1)
        shown = ", ".join(f"{h} x {w}: {count}" for (h, w), count in sizes)
        near = min(facts.depth[0] for facts in frames)
        far = max(facts.depth[2] for facts in frames)
        median = np.median([facts.depth[1] for facts in frames])
        missing = np.mean([facts.missing for facts in frames])
        lines += [
            f"  size     {shown}",
            f"  depth    {near:.2f} to {far:.2f} m, median {median:.2f} m, {missing:.1%} missing",
            f"  void     {histogram[VOID] / histogram.sum():.1%} of the pixels",
            "  labels   (share of the labelled pixels, number of frames)",
        ]
        for value, name in enumerate(classes):
            within = sum(bool(facts.histogram[value]) for facts in frames)
            lines.append(
                f"    {value:3d} {name:16s} {histogram[value] / labelled:7.2%} {within:6d}"
            )
    return "\n".join(lines)
