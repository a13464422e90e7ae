"""One image of a batch with all its maps, on the CPU, to be plotted."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ._checks import fail, require_tensor, shape_of
from ._pixels import depth_pixels
from .curriculum import SelfPacedCurriculum
from .weighting import LossWeightModule


class FrameMaps(NamedTuple):
    """Tensors of one image of a batch, on the CPU."""

    image: Tensor
    target: Tensor
    labelled: Tensor
    predicted: Tensor
    depth: Tensor
    pred_depth: Tensor
    known: Tensor
    dpe: Tensor
    dse: Tensor
    weight: Tensor
    kept: Tensor | None


def select_frame(
    image: Tensor,
    target: Tensor,
    logits: Tensor,
    pred_depth: Tensor,
    target_depth: Tensor,
    weighting: LossWeightModule,
    index: int,
    curriculum: SelfPacedCurriculum | None,
) -> FrameMaps:
    """Select one image of the batch and compute its maps."""
    require_tensor(image, "image")
    require_tensor(logits, "logits")
    if image.ndim != 4 or image.shape[1] != 3:
        raise fail("`image` of shape (B, 3, H, W)", shape_of(image))
    if not 0 <= index < len(image):
        raise fail(f"`index` in [0, {len(image)})", repr(index))
    # One image is enough: all maps are made image by image.
    one = slice(index, index + 1)
    target, logits = target[one].cpu(), logits[one].detach().cpu()
    pred_depth, target_depth = pred_depth[one].detach().cpu(), target_depth[one].cpu()
    maps = weighting.maps(logits, target, pred_depth, target_depth)
    labelled = target != weighting.ignore_index
    kept = None
    if curriculum is not None:
        kept = curriculum(
            maps.weight.to(curriculum.epoch.device), labelled.to(curriculum.epoch.device)
        )
    target_depth = target_depth.reshape(target.shape).float()
    pred_depth = pred_depth.reshape(target.shape).float()
    return FrameMaps(
        image=to_colours(image[index].detach().cpu()),
        target=target[0],
        labelled=labelled[0],
        predicted=logits.argmax(1)[0],
        depth=target_depth[0],
        pred_depth=(pred_depth.exp() if weighting.log_input else pred_depth)[0],
        known=depth_pixels(target_depth)[0],
        dpe=maps.dpe[0],
        dse=maps.dse[0],
        weight=maps.weight[0],
        kept=None if kept is None else kept[0].cpu(),
    )


def to_colours(image: Tensor) -> Tensor:
    """Convert an image (3, H, W), uint8 or floating point, to colours (H, W, 3) in [0, 1]."""
    if not image.is_floating_point():
        return image.permute(1, 2, 0).float() / 255
    colours = image.permute(1, 2, 0).float()
    low, high = colours.min(), colours.max()
    if low < 0 or high > 1:
        colours = (colours - low) / (high - low)
    return colours
