"""The CUDA form as torch calls it: layouts, weights and grids of the kernels, and their launch."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .kernels import backward_kernel, forward_kernel, upsampled_backward_kernel
from .settings import Settings

BLOCK = 256  # pixels of a program
SOURCE_BLOCK = 64  # low-resolution scores of a program, each with a long loop of its own
CHUNK = 16  # classes at a time


def _as_planes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Volumes as (B, C, D, H * W), so that the kernels know two spatial axes only."""
    if logits.ndim == 5:
        return logits.flatten(3), target.flatten(2)
    return logits, target


def _dense(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The logits and an empty gradient with the same strides."""
    result = torch.empty_like(logits)
    if result.stride() != logits.stride():
        logits = logits.contiguous()
        result = torch.empty_like(logits)
    return logits, result


def _like(result: Tensor, logits: Tensor) -> Tensor:
    """A gradient of planes in the shape and the strides that the operator promises."""
    result = result.reshape(logits.shape)
    promised = torch.empty_like(logits, device="meta").stride()
    return result if result.stride() == promised else torch.empty_like(logits).copy_(result)


def _weights(weight: Tensor | None, stand_in: Tensor) -> tuple[Tensor, Tensor]:
    """Class weights and their sum in float32, or any tensor where there are none."""
    if weight is None:
        return stand_in, stand_in
    weight = weight.float().contiguous()
    return weight, weight.sum()


def forward(logits: Tensor, target: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`lwm_loss.cross_entropy.chunked.forward`, on CUDA."""
    weight, ignore_index, label_smoothing = settings
    shape = target.shape
    logits, target = _as_planes(logits, target.contiguous())
    batch, classes, h, w = logits.shape
    height, width = target.shape[1:]
    loss = torch.empty(shape, dtype=torch.float32, device=logits.device)
    top = torch.empty((2, *shape), dtype=torch.float32, device=logits.device)
    wrong = torch.empty(shape, dtype=torch.uint8, device=logits.device)
    weights, weight_sum = _weights(weight, loss)
    grid = (batch * triton.cdiv(height * width, BLOCK),)
    forward_kernel[grid](
        logits,
        target,
        weights,
        weight_sum,
        loss,
        wrong,
        top,
        loss.numel(),
        classes,
        h,
        w,
        height,
        width,
        *logits.stride(),
        ignore_index,
        label_smoothing,
        WEIGHTED=weight is not None,
        SMOOTH=label_smoothing > 0,
        UPSAMPLE=(h, w) != (height, width),
        BLOCK=BLOCK,
        CHUNK=CHUNK,
    )
    return loss, wrong.view(torch.bool), top


def backward(
    grad: Tensor, logits: Tensor, target: Tensor, top: Tensor, settings: Settings
) -> Tensor:
    """As :func:`lwm_loss.cross_entropy.chunked.backward`, on CUDA."""
    weight, ignore_index, label_smoothing = settings
    grad = grad.float().contiguous()
    planes, target = _as_planes(logits, target.contiguous())
    planes, result = _dense(planes)
    batch, classes, h, w = planes.shape
    height, width = target.shape[1:]
    weights, weight_sum = _weights(weight, top)
    inputs = (grad, planes, target, weights, weight_sum, top, top[0].numel())
    numbers = (*planes.stride(), ignore_index, label_smoothing)
    options = {"WEIGHTED": weight is not None, "BLOCK": BLOCK, "CHUNK": CHUNK}
    if (h, w) == (height, width):
        grid = (batch * triton.cdiv(height * width, BLOCK),)
        backward_kernel[grid](*inputs, result, classes, height, width, *numbers, **options)
        return _like(result, logits)
    corners = torch.empty((2, 2, *planes.shape), dtype=torch.float32, device=planes.device)
    # Large patches take long: more programs with fewer of them.
    options["BLOCK"] = SOURCE_BLOCK if height * width <= 64 * h * w else SOURCE_BLOCK // 4
    grid = (batch * triton.cdiv(h * w, options["BLOCK"]) * triton.cdiv(classes, CHUNK),)
    sizes = (corners[0, 0].numel(), classes, h, w, height, width)
    upsampled_backward_kernel[grid](*inputs, corners, *sizes, *numbers, **options)
    return _like(result.copy_(_meet(corners)), logits)


def _meet(corners: Tensor) -> Tensor:
    """Add up, for each score, the gradients of the four patches that touch it.

    The right and bottom corners of one patch are the left and top corners of the next.
    """
    left, right = corners.unbind(1)
    left[..., 1:] += right[..., :-1]
    above, below = left.unbind(0)
    above[..., 1:, :] += below[..., :-1, :]
    return above
