"""The check of a first batch, and what its depth looks like."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from ._batch import Batch, BatchRules
from ._checks import fail, require_bool, require_ignore_index, require_object
from ._findings import depth_findings, prediction_findings, share_of
from .criterion import NOT_SET
from .curriculum import SelfPacedCurriculum
from .depth_error import log_depth_gap
from .pixel_error import pixel_error
from .regions import assign_regions
from .weighting import LossWeightModule, Weighting, WeightingTraits, check_weighting

__all__ = ["BatchReport", "DepthWarning", "validate"]


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
    labelled = share_of(batch.labelled)
    if batch.target_depth is None or batch.known is None:
        return BatchReport(labelled, 0.0, 0.0, 0.0, 0, regions.num_bins, None, 0.0, None, ())
    depth, known = batch.target_depth, batch.known
    values = depth[known].double()
    findings = list(depth_findings(depth, values, regions)) if batch.labelled.numel() else []
    error = None
    if batch.pred_depth is not None:
        gap = log_depth_gap(batch.pred_depth.detach(), depth, known, log_input)
        error = float(gap.abs().amax()) if gap.numel() else 0.0
        findings += prediction_findings(
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
        share_of(known),
        share_of(values < low),
        share_of(values > high),
        len(regions.bins(values).long().unique()),
        regions.num_bins,
        error,
        float(z[slots.counted].mean()) if bool(slots.counted.any()) else 0.0,
        kept,
        tuple(findings),
    )
