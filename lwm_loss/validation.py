"""The check of a first batch."""

from __future__ import annotations

from torch import Tensor

from ._batch import BatchRules

__all__ = ["validate"]


def validate(
    logits: Tensor,
    target: Tensor,
    pred_depth: Tensor | None = None,
    target_depth: Tensor | None = None,
    *,
    ignore_index: int = -100,
    log_input: bool = True,
    depth_mask: Tensor | None = None,
) -> None:
    r"""Check a batch, its values included, on any device.

    Every loss here checks shapes, dtypes and devices on each call. Values (labels in range,
    positive depth) are read on each call only on the CPU; on CUDA that would stall the device,
    so call this once, on a first batch.

    Args:
        logits: (B, C, \*S), or an integer map (B, \*S) of predicted labels.
        target: integer labels (B, \*S).
        pred_depth: predicted log-depth (B, \*S) or (B, 1, \*S), or None.
        target_depth: true depth, same shapes, or None.
        ignore_index: the label of pixels that do not count.
        log_input: whether ``pred_depth`` is in logs.
        depth_mask: bool, same shapes; ``False`` marks pixels as missing.

    Raises:
        TypeError: an argument has the wrong type or kind of dtype.
        ValueError: shapes or devices do not fit, a label is out of range, or with
            ``log_input=False`` a predicted depth is not positive where the true one is known.

    Example:
        >>> import torch
        >>> try:
        ...     validate(torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 255]]]))
        ... except ValueError as error:
        ...     print(str(error)[-43:])
        but got 255: did you mean ignore_index=255?
    """
    rules = BatchRules(ignore_index, log_input)
    rules.check(logits, target, pred_depth, target_depth, depth_mask, read=True)
