"""Prediction heads: the paper's concatenation + 3x3 convolution, and bounded log-depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.layers import upsample

DepthBound = Literal["sigmoid", "clamp", "none"]


@dataclass(frozen=True)
class DepthOutput:
    """Describe the predicted log-depth of a network.

    Attributes:
        predict_depth: ``False`` leaves depth out; ``log_depth`` is then ``None``.
        depth_range: (lo, hi) of the rescaled depth, whose log bounds the prediction.
        depth_bound: how: ``"clamp"``, ``"sigmoid"`` or ``"none"``, see ``BoundedLogDepth``.
    """

    predict_depth: bool = True
    depth_range: tuple[float, float] = (1.0, 256.0)
    depth_bound: DepthBound = "clamp"

    def bound(self) -> BoundedLogDepth:
        """Make the layer that turns a raw prediction into log-depth."""
        return BoundedLogDepth(self.depth_range, self.depth_bound)


LOG_DEPTH = DepthOutput()
"""The paper's: log-depth in [0, log 256]."""


class MultiScaleHead(nn.Module):
    r"""Upsample all scales to full size, concatenate, apply one 3x3 convolution (Section III-A).

    The result is that of::

        full = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in features]
        F.conv2d(torch.cat(full, dim=1), weight, bias, padding=1)

    and so are the gradients, up to rounding; the way there is another. The concatenated map would
    have some 1,280 channels at full size. But upsampling acts on the two axes of a channel and the
    convolution mixes channels and shifts the axes, so the order can be changed. With
    :math:`X_s`` and :math:``Y_s` the bilinear interpolation of scale s along a row and along a
    column, and :math:`S_t` a shift by t that fills with zeros,

    .. math:: \mathrm{out} = b + \sum_s \sum_{u,v \in \{-1,0,1\}}
              S_u Y_s \, (W_{s,u,v} F_s) \, (S_v X_s)^T .

    :math:`W_{s,u,v} F_s` is a 1x1 convolution from the scale's channels to 9 values per class at
    low resolution. The rest are two matrix products with small constant matrices, the second of
    which sums scales and taps along the way. Nothing of full size but the result is ever stored,
    and backward needs none of it. (Also, unlike the backward of ``F.interpolate``, matrix products
    are deterministic on CUDA.)

    ``weight`` (num_outputs, sum of channels, 3, 3) and ``bias`` (num_outputs) are those of
    ``nn.Conv2d(sum(channels), num_outputs, 3, padding=1)``: the two exchange their ``state_dict``.

    Args:
        channels: channels of each scale, in the order in which ``forward`` gets them.
        num_outputs: channels of the result: classes, or 1 for depth.
    """

    def __init__(self, channels: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.num_outputs = num_outputs
        self.weight = nn.Parameter(torch.empty(num_outputs, sum(channels), 3, 3))
        self.bias = nn.Parameter(torch.empty(num_outputs))
        self.reset_parameters()

    def reset_parameters(self, std: float = 0.01) -> None:
        """Draw the weight from N(0, std) and set the bias to zero."""
        nn.init.normal_(self.weight, std=std)
        nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_outputs={self.num_outputs}"

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Predict at full size.

        Args:
            features: one map (B, channels[s], h_s, w_s) for each scale.
            size: the full size (H, W).

        Returns:
            (B, num_outputs, H, W).
        """
        height, width = size
        interpolated_rows, column_matrices = [], []
        for feature, weight in zip(
            features, torch.split(self.weight, list(self.channels), dim=1), strict=True
        ):
            batch, channels, low_height, low_width = feature.shape
            per_tap = F.conv2d(feature, weight.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1))
            # (B, class, u, v, h, w) -> (B, class, (u, h), (v, w)): both products sum over the taps.
            per_tap = per_tap.reshape(batch, self.num_outputs, 3, 3, low_height, low_width)
            per_tap = per_tap.permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)
            interpolated_rows.append(per_tap @ _interpolate_and_shift(low_width, width, per_tap))
            column_matrices.append(_interpolate_and_shift(low_height, height, per_tap))
        columns = torch.cat(column_matrices).t()
        result = columns @ torch.cat(interpolated_rows, dim=2)
        # Under autocast the sum with a float32 bias would double the size of the result.
        return result + self.bias.to(result.dtype).view(-1, 1, 1)


def _interpolate_and_shift(low: int, full: int, like: Tensor) -> Tensor:
    """The matrix (3 * low, full) of linear interpolation, seen one step back, here, one ahead.

    Column i of block t holds the weights of the interpolated position i + t - 1, or zeros where
    that lies outside. torch itself supplies the weights: they are the interpolated identity.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    identity = torch.eye(low, dtype=dtype, device=like.device)
    matrix = F.interpolate(identity[None], size=full, mode="linear", align_corners=False)[0]
    padded = F.pad(matrix, (1, 1))
    return torch.cat([padded[:, tap : tap + full] for tap in range(3)]).to(like.dtype)


class BoundedLogDepth(nn.Module):
    """Turn a raw prediction into log-depth within the log of ``depth_range`` (Section III-A).

    A raw 0 means the depth in the middle of the range, (lo + hi) / 2: a first guess of a scene that
    costs far less than the middle of the log range, 16 for (1, 256), which is close to the camera.
    ``start_at`` moves it to the mean log-depth of the frames. It is a buffer, ``offset``, so that
    it travels with the weights.

    Args:
        depth_range: (lo, hi) of the rescaled depth, 0 < lo < hi; the paper has (1, 256).
        bound: ``"clamp"`` (default) cuts off in forward and lets the gradient through unchanged, so
            that a prediction beyond the range is drawn back by a target within it. ``"sigmoid"``
            scales a sigmoid to the range; far beyond, its gradient vanishes and a large early step
            can leave depth stuck at a bound. ``"none"`` leaves the prediction free.

    Raises:
        ValueError: a range that is not 0 < lo < hi, or an unknown bound.
    """

    offset: Tensor

    def __init__(
        self, depth_range: tuple[float, float] = (1.0, 256.0), bound: DepthBound = "clamp"
    ) -> None:
        super().__init__()
        low, high = depth_range
        if not 0 < low < high:
            raise ValueError(f"Expected `depth_range` to be 0 < lo < hi, but got {depth_range}.")
        if bound not in ("clamp", "sigmoid", "none"):
            raise ValueError(
                f"Expected `depth_bound` to be 'clamp', 'sigmoid' or 'none', but got {bound!r}."
            )
        self.log_low, self.log_high = math.log(low), math.log(high)
        self.bound = bound
        self.register_buffer("offset", torch.zeros(()))
        self.start_at(math.log((low + high) / 2))

    def start_at(self, log_depth: float) -> None:
        """Let a raw 0 mean this log-depth.

        Raises:
            ValueError: it is not inside the range.
        """
        if not self.log_low < log_depth < self.log_high:
            raise ValueError(
                f"Expected a log-depth between {self.log_low:.4g} and {self.log_high:.4g}, but got "
                f"{log_depth:.4g}: is it depth in place of its log?"
            )
        if self.bound == "sigmoid":
            share = (log_depth - self.log_low) / (self.log_high - self.log_low)
            log_depth = math.log(share / (1 - share))
        self.offset.fill_(log_depth)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # Weights that were saved before it was a buffer began at the middle of the range.
        state_dict.setdefault(f"{prefix}offset", self.offset)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"log range=({self.log_low:.4g}, {self.log_high:.4g}), bound={self.bound}"

    def forward(self, raw: Tensor) -> Tensor:
        """Map ``raw`` (B, 1, H, W) to log-depth (B, H, W), in float32 at least."""
        if raw.dtype in (torch.bfloat16, torch.float16):
            raw = raw.float()  # 8 bits of log 256 would be steps of 3 % of the depth
        value = raw.squeeze(1) + self.offset
        if self.bound == "none":
            return value
        if self.bound == "sigmoid":
            return self.log_low + (self.log_high - self.log_low) * value.sigmoid()
        bounded = value.clamp(self.log_low, self.log_high).detach()
        return bounded + (value - value.detach())  # adds an exact 0 that carries the gradient


class LogDepthHead(nn.Conv2d):
    """A 1x1 convolution that predicts bounded log-depth: the depth branch of Table V.

    Its weights are drawn from N(0, 0.01), so that the prediction begins near the depth that it
    starts at, whatever the scale of the features, and the first steps of the encoder are not those
    of L_d alone.

    Args:
        channels: channels of the map that it reads.
        depth: range and bound of the prediction.
    """

    def __init__(self, channels: int, depth: DepthOutput) -> None:
        super().__init__(channels, 1, kernel_size=1)
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]
        self.bound_log_depth = depth.bound()

    def forward(self, input: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Map (B, channels, h, w) to log-depth (B, H, W), upsampled to ``size`` if it is given."""
        raw = super().forward(input)
        bounded: Tensor = self.bound_log_depth(raw if size is None else upsample(raw, size))
        return bounded
