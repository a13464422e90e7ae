r"""Depth-aware convolution and average pooling (Wang & Neumann, ECCV 2018).

The weight of a neighbour fades with its difference in depth,
:math:`F_D(i, j) = \exp(-\alpha |D(i) - D(j)|)`. Neither operation has parameters of its own beyond
those of a plain convolution, and no gradient goes to the depth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ALPHA = 8.3
"""As published, for depth in metres."""


def depth_aware_conv2d(
    input: Tensor,
    depth: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    alpha: float = ALPHA,
) -> Tensor:
    r"""Compute :math:`y(p) = b + \sum_n w(n) F_D(p, p + n) x(p + n)`.

    With ``alpha=0``, or constant depth, this is ``F.conv2d``. The weight of a tap is one number a
    pixel, so it is applied after the channels are mixed: backward then needs ``input`` itself and
    one map a tap, not a copy of ``input`` for each of them.

    Args:
        input: (B, C, H, W).
        depth: (B, 1, H, W), metres.
        weight: (O, C, k, k).
        bias: (O,).
        stride: as of ``F.conv2d``.
        padding: as of ``F.conv2d``, with zeros.
        dilation: as of ``F.conv2d``.
        alpha: :math:`\alpha`, in 1 / metre.

    Returns:
        (B, O, h, w), as ``F.conv2d``.

    Example:
        >>> x, w = torch.randn(2, 3, 5, 6), torch.randn(4, 3, 3, 3)
        >>> flat = torch.full((2, 1, 5, 6), 2.0)
        >>> torch.allclose(depth_aware_conv2d(x, flat, w), F.conv2d(x, w), atol=1e-5)
        True
    """
    size = weight.shape[-1]
    similarities = _similarities(depth, size, stride, padding, dilation, alpha)
    padded = F.pad(input, (padding,) * 4)
    reach = dilation * (size - 1)
    height, width = padded.shape[-2] - reach, padded.shape[-1] - reach
    total: Tensor | None = None
    for tap in range(size**2):
        y, x = divmod(tap, size)
        top, left = y * dilation, x * dilation
        shifted = padded[..., top : top + height, left : left + width]
        mixed = F.conv2d(shifted, weight[:, :, y, x, None, None], stride=stride)
        part = mixed * similarities[:, tap, None].to(mixed.dtype)
        total = part if total is None else total + part
    assert total is not None  # a kernel has at least one tap
    return total if bias is None else total + bias.to(total.dtype).view(-1, 1, 1)


def depth_aware_avg_pool2d(
    input: Tensor,
    depth: Tensor,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    padding: int = 1,
    alpha: float = ALPHA,
) -> Tensor:
    r"""Compute :math:`y(p) = \sum_n F_D(p, p+n) x(p+n) / \sum_n F_D(p, p+n)`.

    The sums are over the window's pixels within the map. (The published CUDA code counts those
    outside in the denominator, takes the centre of the clipped window at borders, and has the
    gradient of a plain pooling.) With ``alpha=0`` this is ``F.avg_pool2d`` without padded pixels.

    Args:
        input: (B, C, H, W).
        depth: (B, 1, H, W), metres.
        kernel_size: as of ``F.avg_pool2d``.
        stride: as of ``F.avg_pool2d``.
        padding: as of ``F.avg_pool2d``.
        alpha: :math:`\alpha`, in 1 / metre.

    Returns:
        (B, C, h, w), as ``F.avg_pool2d``.
    """
    similarities = _similarities(depth, kernel_size, stride, padding, 1, alpha).to(input.dtype)
    padded = F.pad(input, (padding,) * 4)
    inside = F.pad(torch.ones_like(depth, dtype=input.dtype), (padding,) * 4)
    weights = similarities * _windows(inside, kernel_size, stride)
    total = torch.zeros((), dtype=input.dtype, device=input.device)
    height, width = padded.shape[-2] - kernel_size + 1, padded.shape[-1] - kernel_size + 1
    for tap in range(kernel_size**2):
        y, x = divmod(tap, kernel_size)
        window = padded[..., y : y + height : stride, x : x + width : stride]
        total = total + window * weights[:, tap, None]
    return total / weights.sum(1, keepdim=True)


def _similarities(
    depth: Tensor, kernel_size: int, stride: int, padding: int, dilation: int, alpha: float
) -> Tensor:
    """F_D of every tap, row by row: (B, kernel_size^2, h, w), in float32 at least."""
    with torch.no_grad():
        depth = depth.float() if depth.dtype in (torch.float16, torch.bfloat16) else depth
        padded = F.pad(depth, (padding,) * 4, mode="replicate") if padding else depth
        taps = _windows(padded, kernel_size, stride, dilation)
        middle = (kernel_size // 2) * (kernel_size + 1)
        return torch.exp(-alpha * (taps - taps[:, middle, None]).abs())


def _windows(values: Tensor, kernel_size: int, stride: int, dilation: int = 1) -> Tensor:
    """What each tap sees of (B, 1, H, W), row by row: (B, kernel_size^2, h, w)."""
    reach = dilation * (kernel_size - 1)
    height, width = values.shape[-2] - reach, values.shape[-1] - reach
    # Slices, where `F.unfold` could do: torch.export follows them through any size.
    shifts = [dilation * step for step in range(kernel_size)]
    return torch.cat(
        [
            values[..., y : y + height : stride, x : x + width : stride]
            for y in shifts
            for x in shifts
        ],
        dim=1,
    )
