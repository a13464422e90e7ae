"""What a multi-task network returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["MultiTaskOutput"]


class MultiTaskOutput(NamedTuple):
    r"""Output of a network that segments and predicts depth.

    Attributes:
        logits: segmentation scores (B, C, \*S).
        log_depth: predicted log-depth (B, \*S) or (B, 1, \*S), or None.
        side_logits: scores of the side outputs (B, C, \*S_k), at any resolution.

    Example:
        >>> import torch
        >>> output = MultiTaskOutput.of({"logits": torch.zeros(1, 3, 4, 4)})
        >>> output.log_depth is None, len(output.side_logits)
        (True, 0)
    """

    logits: Tensor
    log_depth: Tensor | None = None
    side_logits: Sequence[Tensor] = ()

    @classmethod
    def of(cls, output: Any) -> MultiTaskOutput:
        """Reads what a network returned: logits alone, a tuple in this order, or a mapping.

        Args:
            output: a tensor (the logits), a tuple or list (logits[, log_depth[, side_logits]]),
                a mapping with these names, or a MultiTaskOutput.

        Raises:
            TypeError: it is none of these, or its parts are no tensors.
            ValueError: it has too many parts, or none named ``logits``.
        """
        if isinstance(output, Tensor):
            return cls(output)
        if isinstance(output, Mapping):
            if "logits" not in output:
                raise ValueError(
                    f"Expected a network's mapping to hold 'logits', but got {sorted(output)}."
                )
            parts: list[Any] = [output.get(name) for name in cls._fields]
        elif isinstance(output, (tuple, list)):
            parts = list(output)
            if not 1 <= len(parts) <= len(cls._fields):
                raise ValueError(
                    "Expected a network to return (logits, log_depth, side_logits), "
                    f"but got {len(parts)} values."
                )
            parts += [None] * (len(cls._fields) - len(parts))
        else:
            raise TypeError(
                "Expected a network to return a tensor, tuple, mapping or MultiTaskOutput, "
                f"but got {type(output).__name__}."
            )
        logits, log_depth, side_logits = parts
        sides = () if side_logits is None else tuple(side_logits)
        for part in (logits, *([] if log_depth is None else [log_depth]), *sides):
            if not isinstance(part, Tensor):
                raise TypeError(
                    f"Expected a network's outputs to be tensors, but got {type(part).__name__}."
                )
        return cls(logits, log_depth, sides)
