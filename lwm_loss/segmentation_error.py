"""The Depth-aware Segmentation Error Z (section III-B2, Eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ._batch import BatchRules
from ._checks import Cells, require_choice, require_ignore_index
from ._labels import TASKS, Task
from ._pixels import map_dtype
from ._typing import typed_as
from .pixel_error import PixelError, check_error, name_of_error, pixel_error
from .regions import Regions, assign_regions

__all__ = ["DepthAwareSegmentationError", "depth_aware_segmentation_error"]


def depth_aware_segmentation_error(
    input: Tensor,
    target: Tensor,
    target_depth: Tensor,
    *,
    cells: Cells = (8, 8),
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
    ignore_index: int = -100,
    depth_mask: Tensor | None = None,
    task: Task = "multiclass",
    error: PixelError = "misclassified",
) -> Tensor:
    r"""Depth-aware Segmentation Error, the second measurement of hard pixels (Eq. 3).

    .. math:: Z_{P_k, B_t} = \frac{1}{|P_k \cap B_t|} \sum_{i \in P_k \cap B_t} \Delta_i

    The rate of misclassified pixels within each region of :func:`depth_aware_regions`, given to
    every pixel of the region that is labelled and has depth, and 0 to all others. One vectorised
    pass; its cost does not grow with the number of cells or bins, save for the table itself.

    Args:
        input: scores (B, C, \*S), or an integer map (B, \*S) of predicted labels.
        target: integer labels (B, \*S).
        target_depth: true depth, (B, \*S) or (B, 1, \*S), in the units of ``depth_range``.
        cells: see :func:`depth_aware_regions`; with ``"pixel"`` Z is Delta itself.
        bin_size: see :func:`depth_aware_regions`.
        depth_range: see :func:`depth_aware_regions`.
        ignore_index: the label of pixels that do not count.
        depth_mask: bool, as ``target_depth``; ``False`` marks more pixels as missing.
        task: what the labels are, see :class:`lwm_loss.LossWeightModule`.
        error: what is averaged within a region, see :class:`lwm_loss.LossWeightModule`.

    Returns:
        Z (B, \*S) in [0, 1]; float32, or float64 for float64 scores. Never carries a gradient.

    Raises:
        TypeError: an argument is no tensor or of the wrong kind of dtype.
        ValueError: shapes, devices or options do not fit, or (on the CPU) a label is none of the
            task's and not ``ignore_index``.

    Example:
        >>> import torch
        >>> predicted = torch.tensor([[[0, 1, 1, 1]]])
        >>> target = torch.tensor([[[0, 0, 1, -100]]])
        >>> depth = torch.full((1, 1, 4), 5.0)
        >>> depth_aware_segmentation_error(predicted, target, depth, cells=(1, 1))
        tensor([[[0.3333, 0.3333, 0.3333, 0.0000]]])
    """
    measure = DepthAwareSegmentationError(
        cells=cells,
        bin_size=bin_size,
        depth_range=depth_range,
        ignore_index=ignore_index,
        task=task,
        error=error,
    )
    return measure.forward(input, target, target_depth, depth_mask=depth_mask)


class DepthAwareSegmentationError(nn.Module):
    r"""Module form of :func:`depth_aware_segmentation_error` (Z, Eq. 3).

    Example:
        >>> import torch
        >>> measure = DepthAwareSegmentationError(cells=(4, 4))
        >>> measure(torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8).long(), torch.ones(2, 8, 8)).sum()
        tensor(0.)
    """

    def __init__(
        self,
        *,
        cells: Cells = (8, 8),
        bin_size: float = 10.0,
        depth_range: tuple[float, float] = (1.0, 256.0),
        ignore_index: int = -100,
        task: Task = "multiclass",
        error: PixelError = "misclassified",
    ) -> None:
        super().__init__()
        self.regions = Regions(cells, bin_size, depth_range)
        self.ignore_index = require_ignore_index(ignore_index)
        require_choice(task, "task", TASKS)
        self.task = task
        check_error(error)
        self.error = error

    def forward(
        self,
        input: Tensor,
        target: Tensor,
        target_depth: Tensor,
        *,
        depth_mask: Tensor | None = None,
    ) -> Tensor:
        """See :func:`depth_aware_segmentation_error` for shapes, units and errors."""
        rules = BatchRules(self.ignore_index, task=self.task, name="input")
        batch = rules.check(input, target, None, target_depth, depth_mask)
        depth, known = batch.require_target_depth()
        slots = assign_regions(batch.labelled, depth, known, self.regions)
        error = pixel_error(input.detach(), batch.labels, self.error)
        return slots.average(error, self.error, map_dtype(input))

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return (
            f"{self.regions!r}, ignore_index={self.ignore_index}, task={self.task!r}, "
            f"error={name_of_error(self.error)}"
        )
