"""Rules that find what cannot be right in a data set, from facts about every frame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.inspect.facts import POSES, TOO_NEAR, FrameFacts, frame_facts
from examples.rgbd.data.inspect.pool import for_each_frame
from examples.rgbd.data.spec import DatasetSpec, Split

_ENOUGH = 10  # frames from which a rule about many frames applies
_MEDIAN_DEPTH = (0.8, 6.0)  # metres, of all frames together: rooms are neither dolls' nor hangars
_FRAME_DEPTH = (0.4, 10.0)  # of a single frame: a desk from near by, a hall
_BEYOND = 1.2  # times the range of the data set's sensors; in-painting adds next to nothing to it
_MOST_MISSING = 0.7  # share of a split; sensors miss a tenth to a half
_MOST_NEAR = 0.02  # share of pixels nearer than TOO_NEAR; of NYUDv2 none is
_MIRRORED = POSES.index("mirrored")
_MIRRORED_FRAME = 1.25  # how much better mirrored labels must fit in one frame ...
_TURNED_SPLIT = 1.05  # ... and turned ones on average over a split
_BELONGING = {"image": 1.1, "depth": 1.05}  # how much better labels fit as they are; NYUDv2: 1.7
_MOST_OUTSIDE, _MUCH_OUTSIDE = 0.9, 0.2  # share of depth beyond near and far
_LISTED = 60  # classes beyond which those that do not occur are left out of a table
_SHOWN = 20  # problems of one kind that are listed


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        split: "train" or "test".
        spec: the facts of the data set.
        frames: the facts of the frames that can be read.
        problems: a sentence for each thing that cannot be right.
        remarks: a sentence for each thing that is unusual.
    """

    split: str
    spec: DatasetSpec
    frames: list[FrameFacts]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def verify(
    splits: Mapping[Split, FrameSource],
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
        report = SplitReport(split, dataset.spec, [])
        complete = split_sizes is not None and len(dataset) == split_sizes[split]
        unreadable = []
        for facts in for_each_frame(frame_facts, dataset, workers, split):
            if isinstance(facts, str):
                unreadable.append(facts)
            else:
                report.frames.append(facts)
        report.problems += _shortened(unreadable)
        if split_sizes is not None and not complete:
            report.problems.append(
                f"Expected {split_sizes[split]} {split} frames, but the lists have {len(dataset)}: "
                "is the folder incomplete? (The option `subset` says that it is meant.)"
            )
        if report.frames:
            for rule in (_repeated, _unlabelled, _without_depth, _outside):
                report.problems += _shortened(list(rule(report)))
            if dataset.spec.indoor:
                for rule in (_turned, _depth_unit, _depth_meaning):
                    report.problems += _shortened(list(rule(report)))
                report.problems += _classes(report, dataset.classes, complete)
            else:  # of a scene that may be anything it only seems so
                report.remarks += _shortened(list(_turned(report)))
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
        if facts.histogram[-1] == facts.histogram.sum():
            yield (
                f"Expected some labelled pixels in {facts.files.label} (frame {facts.name}), but "
                "all are void."
            )


def _without_depth(report: SplitReport) -> Iterator[str]:
    """One frame may lack depth; most of a data set whose depth is wanted may not."""
    without = [facts for facts in report.frames if facts.missing == 1]
    if report.spec.indoor:
        for facts in without:
            yield (
                f"Expected depth in {facts.files.depth} (frame {facts.name}), but no pixel has any: "
                "all are zero or not finite."
            )
    elif without and len(without) == len(report.frames):
        yield (
            f"Expected depth in some {report.split} frames, but none has any: only --objective s "
            "can do without; python -m examples.rgbd.estimate_depth makes depth for any images."
        )
    elif without:
        report.remarks.append(
            f"{len(without)} of {len(report.frames)} {report.split} frames have no depth: nothing "
            "is mined in them."
        )


def _outside(report: SplitReport) -> Iterator[str]:
    """All depth beyond near and far becomes one level, and nothing can be learnt from it."""
    known = [facts for facts in report.frames if facts.missing < 1]
    if not known or not report.spec.metric or report.spec.indoor:
        return
    outside = float(np.mean([facts.outside for facts in known]))
    near, far = report.spec.depth_limits
    median = float(np.median([facts.depth[1] for facts in known]))
    text = (
        f"Expected depth between near and far, {near:g} and {far:g} m, in {report.split}, but "
        f"{outside:.0%} of it lies outside, with a median of {median:.4g} m"
    )
    if outside > _MOST_OUTSIDE:
        yield f"{text}: is per_metre right for {known[0].files.depth}?"
    elif outside > _MUCH_OUTSIDE:
        report.remarks.append(f"{text}.")


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
    floor = classes.index("floor")
    for name in ("ceiling", "wall"):
        other = classes.index(name)
        if min(histogram[floor], histogram[other]) > 0.001 * histogram.sum():
            low, high = (rows[k] / histogram[k] for k in (floor, other))
            if low < high:
                problems.append(
                    f"Expected the floor below the {name} in {report.split}, but on average it "
                    f"lies above: are the labels, such as {example}, upside down or one class off?"
                )
                break
    return problems


def _turned(report: SplitReport) -> Iterator[str]:
    """Compare label borders with image and depth edges: they differ where files are mispaired."""
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
        example = f"{getattr(fits[0][0].files, what)} beside {fits[0][0].files.label}"
        if best and mean[best] > _TURNED_SPLIT * mean[0] and len(fits) >= _ENOUGH:
            yield (
                f"Expected {what} and labels to be turned alike, but in {len(fits)} {report.split} "
                f"frames the labels fit better {POSES[best]}: look at {example}."
            )
            continue
        if mean[0] < _BELONGING[what] * mean[1:].max() and len(fits) >= _ENOUGH:
            yield (
                f"Expected {what} and labels of the same frames, but in {len(fits)} {report.split} "
                "frames the labels fit hardly better than turned ones: are the files numbered from "
                f"0 here and from 1 there? Look at {example}."
            )
        if what == "image":
            # A single frame is judged by its image only, since depth has too few edges, and only
            # for mirroring: a patterned blanket below would draw upside-down labels to itself.
            for facts, found in fits:
                if found[_MIRRORED] > _MIRRORED_FRAME * found[0]:
                    yield (
                        "Expected image and label to be turned alike, but the label "
                        f"{facts.files.label} fits {facts.files.image} better mirrored."
                    )


def _depth_unit(report: SplitReport) -> Iterator[str]:
    low, high = _MEDIAN_DEPTH
    known = [facts.depth[1] for facts in report.frames if facts.missing < 1]
    if not known:
        return
    median = float(np.median(known))
    example = report.frames[0].files.depth
    if len(report.frames) >= _ENOUGH and not low <= median <= high:
        yield (
            f"Expected a median depth of {low} to {high} m in {report.split}, but it comes to "
            f"{median:.3g} m: is {example} stored in another unit?"
        )
        return
    low, high = _FRAME_DEPTH
    reach = _BEYOND * report.spec.depth_limits[1]
    for facts in report.frames:
        _, median, greatest = facts.depth
        if facts.missing == 1:
            continue
        if not low <= median <= high:
            yield (
                f"Expected a median depth of {low} to {high} m in {facts.files.depth} (frame "
                f"{facts.name}), but it comes to {median:.3g} m: is it stored in another unit than "
                "the others?"
            )
        elif greatest > reach:
            yield (
                f"Expected no depth beyond {reach:.0f} m in {facts.files.depth} (frame "
                f"{facts.name}), since no sensor of this data set sees that far, but it reaches to "
                f"{greatest:.3g} m: is it stored in another unit than the others?"
            )


def _depth_meaning(report: SplitReport) -> Iterator[str]:
    """Numbers that rise with the distance, or fall with it, without being metres."""
    frames = [facts for facts in report.frames if facts.missing < 1]
    if len(frames) < _ENOUGH:
        return
    example = frames[0].files.depth
    low, high = _FRAME_DEPTH
    near = [facts.near for facts in frames if low <= facts.depth[1] <= high]
    if near and np.mean(near) > _MOST_NEAR:
        yield (
            f"Expected next to no depth below {TOO_NEAR} m in {report.split}, but "
            f"{np.mean(near):.1%} of it is: does {example} hold something else than metres, such "
            "as a logarithm?"
        )
    if np.mean([facts.recession for facts in frames]) > 0:
        yield (
            f"Expected the lower part of the {report.split} frames to be nearer than the middle, "
            f"as floors and tables are, but on average it is farther: does {example} hold "
            "something that falls with the distance, such as disparity, or is it upside down?"
        )
    missing = np.mean([facts.missing for facts in frames])
    if missing > _MOST_MISSING:
        yield (
            f"Expected depth at most pixels of {report.split}, but {missing:.1%} of them have "
            f"none: is {example} a thinned-out or projected scan?"
        )
    greatest, count = Counter(round(f.depth[2], 3) for f in frames).most_common(1)[0]
    if count > 0.9 * len(frames):
        yield (
            f"Expected depth in metres in {report.split}, but {count} frames all reach to "
            f"{greatest:g} m: is {example} stretched to a fixed range?"
        )


def describe(report: SplitReport, classes: tuple[str, ...]) -> str:
    """The facts of a split as a table for people."""
    frames = report.frames
    lines = [f"{report.split}: {len(frames)} readable frames"]
    if frames:
        sizes = Counter(facts.size for facts in frames).most_common()
        histogram = np.sum([facts.histogram for facts in frames], axis=0)
        labelled = max(int(histogram.sum() - histogram[-1]), 1)
        shown = ", ".join(f"{h} x {w}: {count}" for (h, w), count in sizes)
        known = [facts.depth for facts in frames if facts.missing < 1]
        near = min((depth[0] for depth in known), default=math.nan)
        far = max((depth[2] for depth in known), default=math.nan)
        median = np.median([depth[1] for depth in known]) if known else math.nan
        unit = "m" if report.spec.metric else "levels"
        missing = np.mean([facts.missing for facts in frames])
        lines += [
            f"  size     {shown}",
            f"  depth    {near:.2f} to {far:.2f} {unit}, median {median:.2f} {unit}, "
            f"{missing:.1%} missing",
            f"  void     {histogram[-1] / histogram.sum():.1%} of the pixels",
            "  labels   (share of the labelled pixels, number of frames)",
        ]
        for value, name in enumerate(classes):
            within = sum(bool(facts.histogram[value]) for facts in frames)
            if not within and len(classes) > _LISTED:
                continue
            lines.append(
                f"    {value:3d} {name:16s} {histogram[value] / labelled:7.2%} {within:6d}"
            )
    return "\n".join(lines)
