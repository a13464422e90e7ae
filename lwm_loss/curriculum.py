"""The self-paced curriculum (section III-D, Eq. 8): from easy pixels to all pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ._bits import array_of, is_eager, keep
from ._checks import (
    can_read,
    fail,
    is_transformed,
    require_finite,
    require_int,
    require_same_device,
    require_tensor,
    shape_of,
)
from ._typing import typed_as

__all__ = ["SelfPacedCurriculum", "curriculum_threshold"]


def check_weight_map(weight_map: Tensor, mask: Tensor | None) -> None:
    require_tensor(weight_map, "weight_map")
    if not weight_map.is_floating_point():
        raise TypeError(
            f"Expected `weight_map` to be floating point, but got dtype {weight_map.dtype}."
        )
    if weight_map.ndim < 2:
        raise fail("`weight_map` of shape (B, *S)", shape_of(weight_map))
    if mask is None:
        return
    require_tensor(mask, "mask")
    require_same_device(weight_map, "weight_map", mask=mask)
    if mask.dtype != torch.bool:
        raise TypeError(
            f"Expected `mask` to be bool, but got dtype {mask.dtype}: "
            "did you mean target != ignore_index?"
        )
    if mask.shape != weight_map.shape:
        raise fail(f"`mask` of the shape of `weight_map`, {shape_of(weight_map)}", shape_of(mask))


def threshold(weight_map: Tensor, progress: float | Tensor, mask: Tensor | None) -> Tensor:
    """Threshold of Eq. 8, one per image. Inputs must already be validated."""
    values = weight_map.detach()
    if values.numel() == 0:
        return values.new_zeros(
            values.shape[0], dtype=torch.promote_types(values.dtype, torch.float32)
        )
    values = values.to(torch.promote_types(values.dtype, torch.float32)).flatten(1)
    if values.shape[1] == 0:
        return values.new_zeros(len(values))
    counted = torch.ones_like(values, dtype=torch.bool) if mask is None else mask.flatten(1)
    median, maximum = median_and_maximum(values, counted)
    pace = median + progress * (maximum - median)
    return torch.where(maximum == -torch.inf, 0, pace)


def is_below(weight_map: Tensor, pace: Tensor) -> Tensor:
    """Mark the weights below a pace, and what does not compare: a NaN stays visible in the loss."""
    weights = array_of(weight_map)
    if weights is None:
        return ~(weight_map >= pace)
    return torch.from_numpy(~(weights >= pace.numpy()))


def median_and_maximum(values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Of the counted entries of each row (B, N): the lower median, as `torch.median`, and maximum.

    A NaN is left out of the median and is the maximum. Of a row without entries the maximum is -inf,
    or both are 0.
    """
    if values.device.type == "cuda":
        median = median_by_digits(values, counted)
    elif values.device.type == "cpu" and not _needs_rules(values, counted):
        eager = is_eager(values) and is_eager(counted)
        find: Any = median_by_partition if eager else median_operator
        median, maximum = find(values, counted)
        return median, maximum
    else:
        median = torch.where(counted, values, torch.nan).nanmedian(1).values
    # Not 0 where not counted: a map that a user hands in may be negative.
    return median, torch.where(counted, values, -torch.inf).amax(1)


def _needs_rules(*tensors: Tensor) -> bool:
    """Whether somebody differentiates forwards or maps, for which a custom operator has no rule."""
    return forward_ad._current_level >= 0 or any(is_transformed(tensor) for tensor in tensors)


def median_by_partition(values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """The form for CPUs: numpy selects with vector instructions, several times as fast as torch."""
    # What is not counted goes below all others, NaN above. No M is below 0.
    ordered = keep(values, counted)
    if not float(ordered.amin()) >= 0:
        ordered = torch.where(counted, values, -torch.inf)
    median, maximum = torch.zeros_like(values[:, 0]), ordered.amax(1)
    rows = zip(ordered.numpy(), counted.numpy(), maximum.tolist())
    for image, (row, flags, highest) in enumerate(rows):
        number = np.count_nonzero(flags)
        below = len(row) - number
        if math.isnan(highest):
            number -= np.count_nonzero(np.isnan(row))
        middle = min(below + max(number - 1, 0) // 2, len(row) - 1)
        row.partition(middle)
        median[image] = row[middle].item()
    return median, maximum


median_operator = torch.library.custom_op(
    "lwm_loss::median_and_maximum",
    median_by_partition,
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor values, Tensor counted) -> (Tensor, Tensor)",
)


@median_operator.register_fake
def _(values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    return values.new_empty(values.shape[0]), values.new_empty(values.shape[0])


def median_by_digits(values: Tensor, counted: Tensor) -> Tensor:
    """Find the lower median of (B, N) values digit by digit: the form for CUDA.

    `median` and `kthvalue` have no deterministic kernel there, and a sort moves every value many
    times. Radix selection: for each 16-bit digit, most significant first, an integer histogram tells
    which value that digit of the median has.
    """
    integer, bits = (torch.int64, 64) if values.dtype == torch.float64 else (torch.int32, 32)
    counted = counted & ~values.isnan()
    rank = (counted.sum(1, keepdim=True) - 1).clamp(min=0) // 2
    order = _ordered(values.view(integer), bits)
    median = torch.zeros_like(rank)
    for shift in range(bits - 16, -1, -16):
        # The highest digit has the sign.
        lowest = -(1 << 15) if shift == bits - 16 else 0
        digit = (((order >> shift) - lowest) & 0xFFFF).long()
        counts = digit.new_zeros(len(digit), 1 << 16).scatter_add(1, digit, counted.long())
        up_to = counts.cumsum(1)
        own = torch.searchsorted(up_to, rank, right=True).clamp(max=(1 << 16) - 1)
        rank = rank - (up_to - counts).gather(1, own)
        counted = counted & (digit == own)
        median = median | ((own + lowest) << shift)
    return _ordered(median.to(integer), bits).view(values.dtype).squeeze(1)


def _ordered(pattern: Tensor, bits: int) -> Tensor:
    """Integers in the order of the floats of these bits, and back: negative floats run backwards."""
    return pattern ^ ((pattern >> (bits - 1)) & ((1 << (bits - 1)) - 1))


def curriculum_threshold(
    weight_map: Tensor, progress: float | Tensor, *, mask: Tensor | None = None
) -> Tensor:
    r"""The pace of the curriculum for each map of a batch (below Eq. 8).

    .. math:: \eta_e = u^1 + \frac{e}{E} (u^2 - u^1)

    with u1 the median (the lower one of two, as :func:`torch.median`) and u2 the maximum of the
    map over the pixels of ``mask``. Pixels with a weight strictly below the threshold are kept;
    :class:`SelfPacedCurriculum` does that, and keeps all from e >= E on.

    Args:
        weight_map: M (B, \*S), floating point.
        progress: e / E, at least 0; a tensor, of shape () or (B,), avoids recompilation.
        mask: bool (B, \*S), the labelled pixels V_y; all pixels if None.

    Returns:
        (B,) thresholds in the units of M; 0 for a map without any pixel in ``mask``. They carry
        no gradient.

    Raises:
        TypeError: an argument has the wrong type or kind of dtype.
        ValueError: shapes or devices differ, or ``progress`` is negative or not finite.

    Example:
        >>> weight = torch.tensor([[[0.0, 0.2, 0.4, 1.0]]])
        >>> curriculum_threshold(weight, 0.5)
        tensor([0.6000])
    """
    check_weight_map(weight_map, mask)
    if not isinstance(progress, Tensor):
        progress = require_finite(progress, "progress")
    else:
        _check_progress(progress, weight_map)
    return threshold(weight_map, progress, mask)


def _check_progress(progress: Tensor, weight_map: Tensor) -> None:
    """Check a progress that is a tensor: one for all maps, or one for each."""
    if progress.ndim > 1 or (progress.ndim == 1 and progress.shape[0] != weight_map.shape[0]):
        raise fail(
            f"`progress` to be a number or a tensor of shape () or {(weight_map.shape[0],)}",
            f"shape {shape_of(progress)}",
        )
    if progress.dtype.is_complex or progress.dtype == torch.bool:
        raise TypeError(f"Expected `progress` to hold numbers, but got dtype {progress.dtype}.")
    if can_read(progress) and not bool(((progress >= 0) & (progress < torch.inf)).all()):
        raise fail("`progress` to be finite and at least 0", f"{progress.tolist()}")


class SelfPacedCurriculum(nn.Module):
    r"""Keep the weights below a threshold that rises from epoch to epoch (Eq. 8).

    .. math:: \hat M_i = \delta(M_i < \eta_e)\, M_i

    The epoch lives in buffers: it is saved by ``state_dict``, moves with ``.to()``, and a
    compiled step is not compiled again when it changes. Loading a state restores the whole
    schedule, its length too. **Call** :meth:`step` **once after each epoch, or** :meth:`set_epoch`
    **before it**: nothing else advances the schedule, and without it only the easier half of the
    pixels is ever kept. ``lwm_loss.integrations`` has callbacks that do it.

    Args:
        epochs: E, the number of epochs after which every pixel is kept.

    Raises:
        TypeError: ``epochs`` is not an int.
        ValueError: ``epochs`` is less than 1.

    Example:
        >>> curriculum = SelfPacedCurriculum(epochs=2)
        >>> weight = torch.tensor([[[0.0, 0.2, 0.4, 1.0]]])
        >>> for epoch in range(3):
        ...     print(curriculum.progress, curriculum(weight).tolist())
        ...     curriculum.step()
        0.0 [[[0.0, 0.0, 0.0, 0.0]]]
        0.5 [[[0.0, 0.20000000298023224, 0.4000000059604645, 0.0]]]
        1.0 [[[0.0, 0.20000000298023224, 0.4000000059604645, 1.0]]]
    """

    epoch: Tensor
    epochs: Tensor

    def __init__(self, epochs: int) -> None:
        super().__init__()
        require_int(epochs, "epochs", minimum=1)
        # Integers, because .half() would round a floating point buffer.
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_buffer("epochs", torch.tensor(epochs, dtype=torch.int64))

    @property
    def progress(self) -> float:
        """The share e / E of the schedule, at most 1; for logs, since it reads the buffers."""
        return min(1.0, int(self.epoch) / int(self.epochs))

    def step(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1

    def set_epoch(self, epoch: int) -> None:
        """Go to this epoch, counted from 0: what a trainer knows also after it was resumed.

        Raises:
            TypeError: ``epoch`` is not an int.
            ValueError: ``epoch`` is negative.
        """
        self.epoch.fill_(require_int(epoch, "epoch", minimum=0))

    def reset(self) -> None:
        """Go back to the first epoch."""
        self.epoch.zero_()

    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        r"""Set to 0 the weights that are too hard for the current epoch.

        Args:
            weight_map: M (B, \*S), floating point.
            mask: bool (B, \*S), the labelled pixels over which median and maximum are taken.

        Returns:
            The kept part of M, same shape and dtype; all of it from e >= E on.

        Raises:
            TypeError: an argument has the wrong type or kind of dtype.
            ValueError: shapes or devices differ.
        """
        check_weight_map(weight_map, mask)
        return self._keep(weight_map, mask)

    def _keep(self, weight_map: Tensor, mask: Tensor | None) -> Tensor:
        """Compute what forward returns. Arguments must already be checked."""
        dtype = torch.promote_types(weight_map.dtype, torch.float32)
        progress = self.epoch.to(dtype) / self.epochs.to(dtype)
        pace = threshold(weight_map, progress, mask)
        pace = pace.reshape(-1, *[1] * (weight_map.ndim - 1))
        # At the end no pace: nothing compares with NaN.
        pace = torch.where(self.epoch < self.epochs, pace, torch.nan)
        return keep(weight_map, is_below(weight_map, pace))

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        # Printing a model must neither stall a device nor fail on a meta tensor.
        return f"epoch={int(self.epoch)}/{int(self.epochs)}" if can_read(self.epoch) else ""
