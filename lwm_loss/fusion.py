"""Fusion of the two measurements into one loss weight, M = F(R, Z) (section III-B3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ._checks import fail, require_choice, require_same_device, require_tensor, shape_of
from ._typing import typed_as

__all__ = ["Fusion", "fuse"]

# M of (R, Z). The Loss Weight Module takes all of them; `fuse` takes those that read both.
FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "product": torch.mul,
    "max": torch.maximum,
    "dpe": lambda dpe, dse: dpe,
    "dse": lambda dpe, dse: dse,
}
Mode = Literal["sum", "product", "max"]
FusionName = Literal["sum", "product", "max", "dpe", "dse"]
MODES: tuple[str, ...] = get_args(Mode)


def fuse(dpe: Tensor, dse: Tensor, mode: Mode = "sum") -> Tensor:
    """Fuse R and Z pixel by pixel, M = F(R, Z) (section III-B3; the paper found the sum best).

    Args:
        dpe: R, any shape, values in [0, 1].
        dse: Z, same shape and device, values in [0, 1].
        mode: ``"sum"`` (M in [0, 2]), ``"product"`` or ``"max"`` (M in [0, 1]).

    Returns:
        M, same shape, in the wider of the two dtypes.

    Raises:
        TypeError: an argument is no tensor.
        ValueError: shapes or devices differ, or ``mode`` is unknown.

    Example:
        >>> fuse(torch.tensor([0.25, 1.0]), torch.tensor([0.5, 0.5]), mode="max")
        tensor([0.5000, 1.0000])
    """
    require_choice(mode, "mode", MODES)
    require_tensor(dpe, "dpe")
    require_tensor(dse, "dse")
    require_same_device(dpe, "dpe", dse=dse)
    if dpe.shape != dse.shape:
        raise fail(f"`dse` of the shape of `dpe`, {shape_of(dpe)}", shape_of(dse))
    return FUSIONS[mode](dpe, dse)


class Fusion(nn.Module):
    """Module form of :func:`fuse`.

    Example:
        >>> Fusion("product")(torch.tensor([0.5]), torch.tensor([0.5]))
        tensor([0.2500])
    """

    def __init__(self, mode: Mode = "sum") -> None:
        super().__init__()
        require_choice(mode, "mode", MODES)
        self.mode = mode

    def forward(self, dpe: Tensor, dse: Tensor) -> Tensor:
        """See :func:`fuse` for shapes, ranges and errors."""
        return fuse(dpe, dse, self.mode)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}"
