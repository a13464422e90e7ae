"""The check of a first batch, and what its depth looks like."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ._batch import Batch, BatchRules
from ._checks import fail, require_bool, require_ignore_index, require_object
from .criterion import NOT_SET
from .curriculum import SelfPacedCurriculum
from .depth_error import log_depth_gap
from .pixel_error import pixel_error
from .segmentation_error import Regions, assign_regions
from .weighting import LossWeightModule, Weighting, WeightingTraits, check_weighting

__all__ = ["BatchReport", "DepthWarning", "validate"]

# Fewer pixels say nothing about a unit.
ENOUGH_PIXELS = 16
# From this share of the known pixels on, depth outside of the range is no stray measurement, and one
# value near an end of it no accident. Depth that was clamped lies at the very end as well: there a
# whole row or column must hold the value.
OUTSIDE, FILLED, FILLED_AT_THE_END = 0.1, 0.05, 0.1
NEAR_THE_END = 0.02  # of the range
SPREAD = 1.08  # the farthest over the nearest depth: less is a flat wall, also of its log
ALIKE = 0.995  # the correlation of what differs by scale and offset alone


class DepthWarning(UserWarning):
    """A finding of :func:`validate`: depth that passes every check and yet cannot be right."""


class BatchReport(NamedTuple):
    r"""What :func:`validate` saw. ``print(report)`` shows it as a table.

    Attributes:
        labelled: share of the pixels with a label, V_y.
        known: share of the pixels with known depth, V_d; 0 without depth.
        below: share of V_d below ``depth_range``.
        above: share of V_d above ``depth_range``.
        bins_used: depth bins that hold a pixel of V_d.
        bins: depth bins that there are.
        log_depth_error: the largest :math:`|\log D - \log D^*|`, or None without a prediction.
        mean_z: the mean of Z over the pixels of V_y and V_d.
        kept: share of V_y whose weight the curriculum keeps at its epoch, or None without one.
        findings: sentences about what is likely wrong, each also warned as :class:`DepthWarning`.
    """

    labelled: float
    known: float
    below: float
    above: float
    bins_used: int
    bins: int
    log_depth_error: float | None
    mean_z: float
    kept: float | None
    findings: tuple[str, ...]

    def __str__(self) -> str:
        rows = [
            ("labelled pixels", f"{self.labelled:.1%}"),
            ("pixels with known depth", f"{self.known:.1%}"),
            ("  of them below / above depth_range", f"{self.below:.1%} / {self.above:.1%}"),
            ("depth bins used", f"{self.bins_used} of {self.bins}"),
            ("mean Z", f"{self.mean_z:.3f}"),
        ]
        if self.log_depth_error is not None:
            rows.insert(4, ("largest error of the log-depth", f"{self.log_depth_error:.3g}"))
        if self.kept is not None:
            rows.append(("weights that the curriculum keeps", f"{self.kept:.1%}"))
        width = max(len(name) for name, _ in rows)
        table = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*table, *(f"! {finding}" for finding in self.findings)])


def validate(
    logits: Tensor,
    target: Tensor,
    pred_depth: Tensor | None = None,
    target_depth: Tensor | None = None,
    *,
    ignore_index: int = -100,
    log_input: bool = True,
    depth_mask: Tensor | None = None,
    weighting: Weighting | None = None,
    curriculum: SelfPacedCurriculum | None = None,
) -> BatchReport:
    r"""Check a batch, its values included, on any device, and report what its depth looks like.

    Every loss here checks shapes, dtypes and devices on each call. Values (labels in range,
    positive depth) are read on each call only on the CPU; on CUDA that would stall the device,
    so call this once, on a first batch. Depth in a wrong unit breaks no rule, but R and Z are then
    worth nothing: that is found here alone, and warned.

    Args:
        logits: (B, C, \*S), or a map of predicted labels.
        target: labels of the task.
        pred_depth: predicted log-depth (B, \*S) or (B, 1, \*S), or None.
        target_depth: true depth, same shapes, or None.
        ignore_index: the label of pixels that do not count.
        log_input: whether ``pred_depth`` is in logs.
        depth_mask: bool, same shapes; ``False`` marks pixels as missing.
        weighting: the one of the loss. It says which label is ignored, whether depth is in logs,
            the task, and, if it is a :class:`LossWeightModule`, the regions and the error.
        curriculum: the one of the loss, to report how much it keeps at its epoch.

    Returns:
        A :class:`BatchReport`.

    Raises:
        TypeError: an argument has the wrong type or kind of dtype.
        ValueError: shapes or devices do not fit, a label is out of range, or with
            ``log_input=False`` a predicted depth is not positive where the true one is known.

    Warns:
        DepthWarning: depth looks like metres, millimetres, a log or an inverse in place of levels;
            the prediction like no log; many pixels hold one value at an end of the range; or no
            depth is known.

    Example:
        >>> import torch
        >>> try:
        ...     validate(torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 255]]]))
        ... except ValueError as error:
        ...     print(str(error)[-43:])
        but got 255: did you mean ignore_index=255?
        >>> depth = torch.linspace(3, 200, 48).reshape(1, 6, 8)
        >>> target = torch.ones(1, 6, 8, dtype=torch.long)
        >>> print(validate(torch.zeros(1, 3, 6, 8), target, depth.log() + 0.1, depth))
        labelled pixels                      100.0%
        pixels with known depth              100.0%
          of them below / above depth_range  0.0% / 0.0%
        depth bins used                      20 of 26
        largest error of the log-depth       0.1
        mean Z                               1.000
    """
    traits = WeightingTraits() if weighting is None else check_weighting(weighting)
    require_ignore_index(ignore_index)
    require_bool(log_input, "log_input")
    if curriculum is not None:
        require_object(curriculum, "curriculum", "a SelfPacedCurriculum or None")
    if ignore_index == NOT_SET and traits.ignore_index is not None:
        ignore_index = traits.ignore_index
    elif traits.ignore_index not in (None, NOT_SET, ignore_index):
        raise fail(f"the `ignore_index` of the weighting, {traits.ignore_index}", f"{ignore_index}")
    rules = BatchRules(ignore_index, log_input and traits.log_input, task=traits.task)
    batch = rules.check(logits, target, pred_depth, target_depth, depth_mask, read=True)
    report = _report(logits, batch, rules.log_input, weighting, curriculum)
    for finding in report.findings:
        warnings.warn(finding, DepthWarning, stacklevel=2)
    return report


def _report(
    logits: Tensor,
    batch: Batch,
    log_input: bool,
    weighting: Weighting | None,
    curriculum: SelfPacedCurriculum | None,
) -> BatchReport:
    """Read a checked batch."""
    own = weighting if isinstance(weighting, LossWeightModule) else LossWeightModule()
    regions, (low, high) = own.regions, own.regions.depth_range
    labelled = _share(batch.labelled)
    if batch.target_depth is None or batch.known is None:
        return BatchReport(labelled, 0.0, 0.0, 0.0, 0, regions.num_bins, None, 0.0, None, ())
    depth, known = batch.target_depth, batch.known
    values = depth[known].double()
    findings = list(_depth_findings(depth, values, regions)) if batch.labelled.numel() else []
    error = None
    if batch.pred_depth is not None:
        gap = log_depth_gap(batch.pred_depth.detach(), depth, known, log_input)
        error = float(gap.abs().amax()) if gap.numel() else 0.0
        findings += _prediction_findings(
            batch.pred_depth.detach()[known].double(), values, log_input
        )
    slots = assign_regions(batch.labelled, depth, known, regions)
    kind = own.error if logits.is_floating_point() else "misclassified"
    z = slots.average(pixel_error(logits.detach(), batch.labels, kind), kind, torch.float32)
    kept = None
    if curriculum is not None and weighting is not None and batch.pred_depth is not None:
        weight = weighting(logits.detach(), batch.labels.given, batch.pred_depth, depth).detach()
        left = curriculum(weight, batch.labelled)
        kept = float((left[batch.labelled] == weight[batch.labelled]).float().mean())
    return BatchReport(
        labelled,
        _share(known),
        _share(values < low),
        _share(values > high),
        len(regions.bins(values).long().unique()),
        regions.num_bins,
        error,
        float(z[slots.counted].mean()) if bool(slots.counted.any()) else 0.0,
        kept,
        tuple(findings),
    )


def _share(pixels: Tensor) -> float:
    return float(pixels.double().mean()) if pixels.numel() else 0.0


def _depth_findings(depth: Tensor, values: Tensor, regions: Regions) -> Iterator[str]:
    """Say what is unlikely about the known depths of a batch."""
    low, high = regions.depth_range
    if values.numel() == 0:
        yield (
            "No depth is known in this batch (0, negative, NaN and inf are missing), so that R and "
            "Z are 0 and L_h with them: is it the right tensor, and does depth_mask keep anything?"
        )
        return
    if values.numel() < ENOUGH_PIXELS:
        return
    nearest, farthest, middle = (float(x) for x in (values.min(), values.max(), values.median()))
    seen = f"`target_depth` lies in [{nearest:.4g}, {farthest:.4g}], median {middle:.4g}"
    flat = farthest < SPREAD * nearest
    above, below = _share(values > high), _share(values < low)
    if above > OUTSIDE:
        yield (
            f"{seen}: {above:.0%} of it is above depth_range=({low:g}, {high:g}). Is it in "
            "millimetres (or centimetres, or raw sensor values) in place of levels? Did you mean "
            "LF.rescale_depth(depth / 1000, near, far)?"
        )
        return
    if not flat and farthest < low + regions.bin_size and regions.num_bins > 2:
        bins = f"all of it is in the first of {regions.num_bins} depth bins"
        yield f"{seen}: {bins}. {_unit(values, high)}"
        return
    if not flat and below > OUTSIDE:
        yield (
            f"{seen}: {below:.0%} of it is below depth_range=({low:g}, {high:g}). Is it in another "
            "unit than the range (metres, an inverse depth)?"
        )
        return
    margin = NEAR_THE_END * (high - low)
    for value in (nearest, farthest):
        share = _share(values == value)
        at_an_end = value <= low + margin or value >= high - margin
        limit = FILLED_AT_THE_END if value in (low, high) else FILLED
        if not at_an_end or flat or not limit < share < 1:
            continue
        held = depth.double() == value
        if value not in (low, high) or bool(held.all(-1).any() | held.all(-2).any()):
            yield (
                f"{share:.0%} of the known `target_depth` is exactly {value:g}, at an end of "
                f"depth_range=({low:g}, {high:g}). Did an augmentation fill in that value where "
                "there is no image (fill depth with 0, which is missing), or do near and far clamp "
                'so much (LF.rescale_depth(..., beyond="missing"))?'
            )


def _unit(values: Tensor, high: float) -> str:
    """Guess the unit of depths that all lie in the first bin."""
    farthest, middle = float(values.max()), float(values.median())
    if farthest <= math.log(10.5):
        return (
            "Is it an inverse (a disparity), a log, or depth divided by its maximum? `target_depth` "
            "is depth itself, in levels: did you mean LF.rescale_depth(metres, near, far)?"
        )
    if farthest <= math.log(high) + 0.01 and middle > 0.75 * farthest:
        return (
            "Is it the log of levels (or in metres)? `target_depth` is never in logs: did you mean "
            "depth.exp()?"
        )
    log = " (or the log of levels)" if farthest <= math.log(high) + 0.01 else ""
    return f"Is it in metres{log}? Did you mean LF.rescale_depth(depth, near, far)?"


def _prediction_findings(predicted: Tensor, values: Tensor, log_input: bool) -> Iterator[str]:
    """Say whether a prediction looks as if it were no log, or one where none was announced."""
    if values.numel() < ENOUGH_PIXELS or not bool(predicted.isfinite().all()):
        return
    to_log, to_depth = (
        float((predicted - truth).abs().median()) for truth in (values.log(), values)
    )
    middle = float(predicted.median())
    alike = {name: _correlation(predicted, truth) for name, truth in _readings(values)}
    best = max(alike, key=lambda name: alike[name])
    # Half an e-fold from the depth itself, or so large that its exponential is no depth.
    looks_plain = to_depth < 0.5 * to_log or middle > math.log(float(values.max())) + 3
    if log_input and looks_plain:
        yield (
            f"`pred_depth` has the median {middle:.4g}, whose exponential is {_exp(middle):.3g} for "
            f"a true median of {float(values.median()):.4g}: is it depth and no log-depth? Did you "
            "mean pred_depth.log(), or log_input=False in the weighting?"
        )
    elif log_input and alike[best] > ALIKE > alike["the log of"] + 0.003:
        yield (
            f"`pred_depth` follows {best} the true depth more closely than its log: is it no "
            "log-depth? Did you mean pred_depth.log(), or log_input=False in the weighting?"
        )
    if not log_input and to_log < 0.5 and to_log < 0.1 * to_depth:
        yield (
            f"`pred_depth` has the median {middle:.4g}, the log of the true depth's "
            f"{float(values.median()):.4g}: is it log-depth? Did you mean log_input=True?"
        )


def _readings(values: Tensor) -> list[tuple[str, Tensor]]:
    """What a prediction may mean."""
    return [("the log of", values.log()), ("the scale of", values), ("the inverse of", 1 / values)]


def _correlation(one: Tensor, other: Tensor) -> float:
    one, other = one - one.mean(), other - other.mean()
    norm = one.norm() * other.norm()
    return float((one * other).sum() / norm) if bool(norm > 0) else 0.0


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
