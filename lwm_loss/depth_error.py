"""Depth Prediction Error R (section III-B1) and the depth loss L_d (Eq. 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ._batch import Batch, check_depths, check_positive
from ._bits import keep
from ._checks import (
    can_read,
    check_depth_range,
    fail,
    require_bool,
    require_choice,
    require_finite,
    require_tensor,
)
from ._pixels import count_pixels, depth_pixels, map_dtype, over_peak
from ._typing import typed_as
from .normalizers import divisor

__all__ = [
    "DepthPredictionError",
    "LogDepthMSELoss",
    "depth_prediction_error",
    "log_depth_mse_loss",
    "rescale_depth",
]

Reduction = Literal["none", "mean", "sum"]
Beyond = Literal["clamp", "missing"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)
BEYOND: tuple[str, ...] = get_args(Beyond)


def rescale_depth(
    depth: Tensor,
    near: float,
    far: float,
    depth_range: tuple[float, float] = (1.0, 256.0),
    *,
    beyond: Beyond = "clamp",
) -> Tensor:
    """Map metres linearly to levels: ``near`` to the lowest of them, ``far`` to the highest.

    The paper works on depths in [1, 256] (section III-A) and does not say how metres get there;
    this is the plainest way. Depth outside of [near, far] is clamped, or missing; missing depth (zero,
    negative, NaN or infinite) comes out as 0, which every function here takes for missing.

    Args:
        depth: any shape, floating point, metres.
        near: metres that become the lowest level.
        far: metres that become the highest level, greater than ``near``.
        depth_range: levels (low, high) to map to; low must be positive, for its log is taken.
        beyond: what becomes of depth outside of [near, far]: ``"clamp"`` moves it to the nearer end,
            ``"missing"`` to 0, which is right where a sensor reports its limit for no echo.

    Returns:
        Levels in ``depth_range``, or 0 where depth is missing; the dtype of ``depth``.

    Raises:
        TypeError: ``depth`` is not a floating point tensor.
        ValueError: ``near`` is not below ``far``, or ``depth_range`` is not 0 < low < high.

    Example:
        >>> rescale_depth(torch.tensor([0.0, 0.5, 5.25, 10.0, 99.0]), near=0.5, far=10.0)
        tensor([  0.0000,   1.0000, 128.5000, 256.0000, 256.0000])
    """
    require_tensor(depth, "depth")
    if not depth.is_floating_point():
        raise TypeError(f"Expected `depth` to be floating point, but got dtype {depth.dtype}.")
    near = require_finite(near, "near")
    far = require_finite(far, "far")
    if not near < far:
        raise fail("`near` to be below `far`", f"near={near:g}, far={far:g}")
    low, high = check_depth_range(depth_range)
    if low == 0:
        raise fail("`depth_range` to start above 0, which stands for missing depth", "0")
    require_choice(beyond, "beyond", BEYOND)
    known = depth_pixels(depth)
    if beyond == "missing":
        known = known & (depth >= near) & (depth <= far)
    metres = torch.where(known, depth, near).clamp(near, far)
    # The arithmetic runs in float32 or better; only the result is narrowed again.
    metres = metres.to(torch.promote_types(depth.dtype, torch.float32))
    levels = low + (metres - near) * ((high - low) / (far - near))
    return torch.where(known, levels.clamp(low, high), 0).to(depth.dtype)


def log_depth_gap(input: Tensor, target_depth: Tensor, known: Tensor, log_input: bool) -> Tensor:
    """Compute log D - log D* on V_d (``known``), 0 elsewhere; differentiable in ``input``.

    Unknown depth that wants a gradient is replaced before its log is taken as well as after: the
    latter alone would let the NaN of a log into the gradient.
    """
    dtype = map_dtype(input)
    target_depth = target_depth.to(torch.promote_types(dtype, target_depth.dtype))
    if target_depth.requires_grad:
        target_depth = torch.where(known, target_depth, 1)
    log_target = target_depth.log().to(dtype)
    log_depth = input.to(dtype) if log_input else torch.where(known, input, 1).to(dtype).log()
    return keep(log_depth - log_target, known)


def depth_loss(
    batch: Batch, log_input: bool, normalizer: Tensor | float | None
) -> tuple[Tensor, Tensor]:
    """Compute L_d of a checked batch, and the map log D - log D* that it is made of."""
    pred_depth, target_depth, known = batch.require_depths()
    gap = log_depth_gap(pred_depth, target_depth, known, log_input)
    return gap.square().sum() / divisor(normalizer, known, gap.dtype, "depth_normalizer"), gap


def normalized_error(gap: Tensor) -> Tensor:
    """Compute R from a log-depth gap: its magnitude over the largest of the image, which may be 0."""
    return over_peak(gap.detach().abs())


def depth_prediction_error(
    input: Tensor,
    target_depth: Tensor,
    *,
    log_input: bool = True,
    normalize: bool = True,
    depth_mask: Tensor | None = None,
) -> Tensor:
    r"""Depth Prediction Error, the first measurement of hard pixels (section III-B1).

    .. math:: R_i = \frac{|\log D_i - \log D^*_i|}{\max_j |\log D_j - \log D^*_j|}

    on the pixels V_d whose true depth is known, and 0 elsewhere. The maximum is taken over each
    image by itself; a map that is zero everywhere stays zero. R is a measurement and never
    carries a gradient: to train the depth branch use :func:`log_depth_mse_loss`.

    Args:
        input: predicted log-depth (with ``log_input=False``: depth), (B, \*S) or (B, 1, \*S).
            Four dimensions are read as (B, 1, H, W) where the second is 1, else (B, D, H, W).
        target_depth: true depth, never its log, same shapes. Zero, negative, NaN and infinite
            values are missing depth.
        log_input: whether ``input`` is in logs, as in :class:`torch.nn.PoissonNLLLoss`.
        normalize: whether to divide by the maximum; ``False`` gives the raw log-depth error.
        depth_mask: bool, same shapes; ``False`` marks more pixels as missing.

    Returns:
        R (B, \*S) in [0, 1] (log-depth, at least 0, if raw); float32, or float64 for float64 input.

    Raises:
        TypeError: an argument is no tensor, a depth not floating point, or the mask not bool.
        ValueError: the shapes or devices differ, or (on the CPU) ``log_input=False`` and a
            prediction in V_d is not positive.

    Example:
        >>> log_depth = torch.tensor([[[0.0, 1.0, 4.0, 5.0]]])
        >>> depth = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])            # the last one is missing
        >>> depth_prediction_error(log_depth, depth)
        tensor([[[0.0000, 0.2500, 1.0000, 0.0000]]])
    """
    require_bool(log_input, "log_input")
    input, target_depth = check_depths({"input": input, "target_depth": target_depth}, depth_mask)
    if not log_input and can_read(input):
        check_positive(input, target_depth, "input")
    gap = log_depth_gap(input.detach(), target_depth, depth_pixels(target_depth), log_input)
    return normalized_error(gap) if normalize else gap.abs()


def log_depth_mse_loss(
    input: Tensor,
    target_depth: Tensor,
    *,
    log_input: bool = True,
    depth_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Mean squared error of log-depth, the loss of the depth branch (Eq. 2).

    .. math:: L_d = \frac{1}{|V_d|} \sum_{i \in V_d} (\log D_i - \log D^*_i)^2

    Args:
        input: predicted log-depth (with ``log_input=False``: depth), (B, \*S) or (B, 1, \*S).
        target_depth: true depth, never its log, same shapes; zero, negative, NaN and infinite
            values are missing depth and reach neither the loss nor a gradient.
        log_input: whether ``input`` is in logs.
        depth_mask: bool, same shapes; ``False`` marks more pixels as missing.
        reduction: ``"mean"`` over V_d, ``"sum"``, or ``"none"`` for the map.

    Returns:
        A scalar, or the (B, \*S) map (0 outside V_d), in squared log-depth; float32, or float64
        for float64 input. Without any known depth the loss is 0 and keeps its graph.

    Raises:
        TypeError: an argument is no tensor, a depth not floating point, or the mask not bool.
        ValueError: the shapes or devices differ, ``reduction`` is unknown, or (on the CPU)
            ``log_input=False`` and a prediction in V_d is not positive.

    Example:
        >>> depth = torch.tensor([[[1.0, 1.0, float("nan")]]])
        >>> log_depth_mse_loss(torch.tensor([[[0.0, 2.0, 5.0]]]), depth)
        tensor(2.)
    """
    require_choice(reduction, "reduction", REDUCTIONS)
    require_bool(log_input, "log_input")
    input, target_depth = check_depths({"input": input, "target_depth": target_depth}, depth_mask)
    if not log_input and can_read(input):
        check_positive(input, target_depth, "input")
    known = depth_pixels(target_depth)
    squared = log_depth_gap(input, target_depth, known, log_input).square()
    if reduction == "none":
        return squared
    total = squared.sum()
    return total / count_pixels(known, total.dtype) if reduction == "mean" else total


class DepthPredictionError(nn.Module):
    r"""Module form of :func:`depth_prediction_error` (R, section III-B1).

    Example:
        >>> DepthPredictionError()(torch.zeros(2, 1, 4, 5), torch.ones(2, 4, 5)).shape
        torch.Size([2, 4, 5])
    """

    def __init__(self, *, log_input: bool = True, normalize: bool = True) -> None:
        super().__init__()
        self.log_input = require_bool(log_input, "log_input")
        self.normalize = require_bool(normalize, "normalize")

    def forward(
        self, input: Tensor, target_depth: Tensor, *, depth_mask: Tensor | None = None
    ) -> Tensor:
        """See :func:`depth_prediction_error` for shapes, units and errors."""
        return depth_prediction_error(
            input,
            target_depth,
            log_input=self.log_input,
            normalize=self.normalize,
            depth_mask=depth_mask,
        )

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return f"log_input={self.log_input}, normalize={self.normalize}"


class LogDepthMSELoss(nn.Module):
    r"""Module form of :func:`log_depth_mse_loss` (L_d, Eq. 2).

    Example:
        >>> LogDepthMSELoss()(torch.zeros(2, 4, 5), torch.ones(2, 4, 5))
        tensor(0.)
    """

    def __init__(self, *, log_input: bool = True, reduction: Reduction = "mean") -> None:
        super().__init__()
        require_choice(reduction, "reduction", REDUCTIONS)
        self.log_input = require_bool(log_input, "log_input")
        self.reduction = reduction

    def forward(
        self, input: Tensor, target_depth: Tensor, *, depth_mask: Tensor | None = None
    ) -> Tensor:
        """See :func:`log_depth_mse_loss` for shapes, units and errors."""
        return log_depth_mse_loss(
            input,
            target_depth,
            log_input=self.log_input,
            depth_mask=depth_mask,
            reduction=self.reduction,
        )

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return f"log_input={self.log_input}, reduction={self.reduction!r}"
