"""What the tests share: the road from a drawn batch to the oracle and back, and plain scenes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import lwm_loss as lwm
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch


def to_numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor for the oracle: floats as float64 (exact from every narrower dtype)."""
    tensor = tensor.detach()
    return (tensor.double() if tensor.dtype.is_floating_point else tensor).numpy()


def mining_of(batch: Batch, fusion: str = "sum") -> ref.Mining:
    """The oracle's settings for a batch."""
    return ref.Mining(
        batch.cells, batch.bin_size, batch.depth_range, fusion, batch.ignore_index, True
    )


def weighting_of(batch: Batch, fusion: str = "sum") -> lwm.LossWeightModule:
    """The library's loss weight module for a batch."""
    return lwm.LossWeightModule(
        cells=batch.cells,
        bin_size=batch.bin_size,
        depth_range=batch.depth_range,
        fusion=fusion,
        ignore_index=batch.ignore_index,
    )


class Arrays(NamedTuple):
    """A batch's tensors as the oracle takes them."""

    logits: Any
    target: Any
    pred_depth: Any
    target_depth: Any
    depth_mask: Any


def arrays_of(batch: Batch) -> Arrays:
    """A batch's tensors as numpy arrays."""
    mask = None if batch.depth_mask is None else batch.depth_mask.numpy()
    return Arrays(*(to_numpy(tensor) for tensor in batch[:4]), mask)


def smallest_peak(batch: Batch) -> float:
    """The smallest non-zero maximum of raw R over the images: what R's rounding is divided by."""
    arrays = arrays_of(batch)
    raw = ref.depth_prediction_error(
        arrays.pred_depth, arrays.target_depth, normalize=False, depth_mask=arrays.depth_mask
    )
    peaks = [float(image.max()) for image in raw if image.max() > 0.0]
    return min(peaks, default=1.0)


def assert_map(
    ours: Tensor, truth: np.ndarray[Any, Any], atol: float = 0.0, double: bool | None = None
) -> None:
    """The library's map equals the oracle's; `double` says which dtype it must have."""
    if double is not None:
        assert ours.dtype == (torch.float64 if double else torch.float32)
    rtol = 1e-10 if ours.dtype == torch.float64 else 2e-5
    np.testing.assert_allclose(ours.detach().double().numpy(), truth, rtol=rtol, atol=atol)


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    """How closely a scalar loss must agree with the oracle's."""
    return {"rel": 1e-9, "abs": 1e-11} if dtype == torch.float64 else {"rel": 5e-5, "abs": 5e-6}


class Scene(NamedTuple):
    """Generic tensors without ties: what a network and a data set would give."""

    logits: Tensor
    target: Tensor
    pred_depth: Tensor
    target_depth: Tensor


def scene(
    images: int = 2,
    classes: int = 5,
    size: tuple[int, ...] = (13, 17),
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    ignore_index: int = 255,
    ignored: float = 0.2,
    missing: float = 0.2,
) -> Scene:
    """A batch of smooth depth and random labels, with this share ignored and missing.

    Values come from a generator of their own, so that a scene depends on its arguments alone.
    """
    noise = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=noise, dtype=torch.float64)

    logits = 4 * uniform(images, classes, *size) - 2
    target = (uniform(images, *size) * classes).long()
    target[uniform(images, *size) < ignored] = ignore_index
    depth = 1 + 200 * uniform(images, *size)
    log_depth = depth.log() + 0.3 * (uniform(images, *size) - 0.5)
    depth[uniform(images, *size) < missing] = 0.0
    return Scene(logits.to(dtype), target, log_depth.to(dtype), depth.to(dtype))


def wrapped(curriculum: lwm.SelfPacedCurriculum | None = None) -> lwm.HardPixelLoss:
    """Cross-entropy under the default weighting, ignoring 255."""
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    return lwm.HardPixelLoss(criterion, lwm.LossWeightModule(ignore_index=255), curriculum)


def clear_of_thresholds(
    weight: np.ndarray, progress: float, labelled: np.ndarray, gap: float = 1e-5
) -> bool:
    """Whether rounding cannot decide which pixels the curriculum keeps.

    A pixel may equal its threshold (the median does, at the start), for then both are one number;
    two different numbers within rounding of one another may not decide.
    """
    thresholds = ref.curriculum_threshold(weight, progress, labelled)
    for image, inside, threshold in zip(weight, labelled, thresholds, strict=True):
        away = np.abs(image[inside] - threshold)
        if ((away > 0) & (away < gap)).any() or (0 < progress < 1 and (away < gap).any()):
            same = np.ptp(image[inside]) == 0 if inside.any() else True
            if not same:
                return False
    return True
