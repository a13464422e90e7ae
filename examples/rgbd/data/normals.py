"""Surface normals as targets of PAP, computed from depth, and their loss."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.rgbd.data.hha import plane_normals


def surface_normals(
    depth: Tensor, intrinsics: Tensor, *, radius: int = 3, jump: float = 0.05
) -> Tensor:
    """Compute unit normals (right, down, away from the camera) of depth.

    Args:
        depth: (B, H, W), metres, 0 = missing.
        intrinsics: fx, fy, cx, cy, see ``examples.rgbd.data.hha.points_of``.
        radius: of the window that a plane is fitted to.
        jump: share of the depth by which it may leave the plane of its two neighbours, in a row or
            a column; a window with more has an edge in it, and no normal.

    Returns:
        (B, 3, H, W); 0 where depth is missing or jumps within the window.
    """
    known = depth > 0
    # The inverse depth of a plane is linear in the pixels, so a slant alone is no jump.
    inverse = torch.where(known, 1 / torch.where(known, depth, 1), 0)[:, None]
    padded = F.pad(inverse, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:] - 2 * inverse
    along = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] - 2 * inverse
    across[..., [0, -1]] = 0
    along[..., [0, -1], :] = 0
    bent = torch.maximum(across.abs(), along.abs()) > jump * inverse
    edge = (bent | ~known[:, None]).to(depth.dtype)
    smooth = F.max_pool2d(edge, 2 * radius + 1, 1, radius)[:, 0] == 0
    return plane_normals(depth, intrinsics, radius) * smooth[:, None]


def has_normal(target: Tensor) -> Tensor:
    """Where (B, 3, H, W) unit normals are known: (B, H, W), bool."""
    return target.square().sum(1) > 0.5


def normal_loss(
    input: Tensor, target: Tensor, *, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Average 1 - cosine over the pixels that have a normal; 0 without any.

    Args:
        input: (B, 3, H, W), predicted unit normals.
        target: (B, 3, H, W), as ``surface_normals`` gives them.
        reduction: "mean", or "sum".
    """
    known = has_normal(target)
    total = torch.where(known, 1 - (input * target).sum(1), 0).sum()
    return total if reduction == "sum" else total / known.sum().clamp(min=1)
