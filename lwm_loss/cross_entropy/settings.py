"""The options of a cross-entropy, passed as one object behind the flat schema of the operators."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .._checks import fail, require_class_weight


class Settings(NamedTuple):
    """What changes the value of a cross-entropy.

    Attributes:
        weight: (C,) class weights, or None.
        ignore_index: the label of pixels whose loss is 0.
        label_smoothing: in [0, 1].
    """

    weight: Tensor | None
    ignore_index: int
    label_smoothing: float = 0.0

    def check(self, logits: Tensor) -> None:
        """Raise unless the options fit these scores. Reads shapes only."""
        if not 0 <= self.label_smoothing <= 1:
            raise fail("`label_smoothing` to be in [0, 1]", repr(self.label_smoothing))
        if self.weight is not None:
            require_class_weight(self.weight, logits)
