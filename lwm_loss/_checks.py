"""Every check of an input, and its message.

Shapes, dtypes and devices are checked always. Values are read only where reading is free of
cost: on a plain CPU tensor outside of compilation and of function transforms. On CUDA a read
would stall the device, so there they are read only by :func:`lwm_loss.validate`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._pixels import depth_pixels, labelled_pixels

PIXEL = "pixel"
Cells = Sequence[int] | str


def fail(expected: str, got: str, hint: str | None = None) -> ValueError:
    """The one sentence in which every wrong value is reported."""
    end = f": {hint}" if hint else "."
    return ValueError(f"Expected {expected}, but got {got}{end}")


def require_tensor(value: Any, name: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got {type(value).__name__}.")


def require_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    known = list(choices)
    if value not in known:
        raise fail(f"`{name}` to be one of {known}", repr(value))


def require_finite(value: Any, name: str, *, minimum: float = 0.0, strict: bool = False) -> float:
    """A finite number that is at least ``minimum`` (greater than it if ``strict``)."""
    bound = f"{'greater than' if strict else 'at least'} {minimum:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Expected `{name}` to be a number, but got {type(value).__name__}.")
    if not math.isfinite(value) or value < minimum or (strict and value == minimum):
        raise fail(f"`{name}` to be finite and {bound}", repr(value))
    return float(value)


def require_int(value: Any, name: str, *, minimum: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"Expected `{name}` to be an int, but got {type(value).__name__}.")
    if minimum is not None and value < minimum:
        raise fail(f"`{name}` to be at least {minimum}", repr(value))
    return value


def is_transformed(tensor: Tensor) -> bool:
    """Whether a function transform is looking (vmap, grad); torch has no public name for that."""
    if torch.compiler.is_compiling():
        return False
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def can_read(tensor: Tensor) -> bool:
    """Whether the values may be looked at: a real CPU tensor, neither traced nor transformed."""
    if torch.compiler.is_compiling() or type(tensor) not in (Tensor, torch.nn.Parameter):
        return False
    return tensor.device.type == "cpu" and not is_transformed(tensor)


# --- shapes -------------------------------------------------------------------------------------


def require_same_device(reference: Tensor, name: str, **others: Tensor | None) -> None:
    for other_name, other in others.items():
        if other is not None and other.device != reference.device:
            raise fail(
                f"`{other_name}` on the device of `{name}`, {reference.device}",
                str(other.device),
                f"did you forget {other_name}.to({str(reference.device)!r})?",
            )


def require_scores(logits: Tensor) -> None:
    """A loss needs scores, where a measurement also takes predicted labels."""
    require_tensor(logits, "logits")
    if not logits.is_floating_point():
        raise TypeError(
            f"Expected `logits` to be floating point scores, but got dtype {logits.dtype}."
        )


def check_target(
    input: Tensor, target: Tensor, name: str = "logits", *, any_size: bool = False
) -> Tensor:
    """Checks (B, C, *S) scores, or a (B, *S) map of labels, against a target; returns it int64.

    With ``any_size`` scores may have another resolution than the target.
    """
    require_tensor(input, name)
    require_tensor(target, "target")
    require_same_device(input, name, target=target)
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(
            f"Expected `target` to hold integer class indices, but got dtype {target.dtype}: "
            "did you mean target.long(), or target.argmax(1) for one-hot labels?"
        )
    if input.is_complex() or input.dtype == torch.bool:
        raise TypeError(
            f"Expected `{name}` to be floating point scores or integer labels, "
            f"but got dtype {input.dtype}."
        )
    scores = input.is_floating_point()
    if input.ndim not in ((4, 5) if scores else (3, 4)):
        shape = "(B, C, H, W) or (B, C, D, H, W)" if scores else "(B, H, W) or (B, D, H, W)"
        raise fail(f"`{name}` of shape {shape}", shape_of(input), "is the batch dimension there?")
    if scores and input.shape[1] == 0:
        raise fail(f"`{name}` with at least one class", shape_of(input))
    expected = (input.shape[0], *input.shape[2 if scores else 1 :])
    if any_size and target.ndim == len(expected):
        expected = (input.shape[0], *target.shape[1:])
    if tuple(target.shape) != expected:
        squeezable = target.ndim == len(expected) + 1 and target.shape[1] == 1
        hint = None
        if squeezable:
            hint = "did you forget target.squeeze(1)?"
        elif scores and target.shape == input.shape:
            hint = "is it one-hot (then use target.argmax(1))?"
        elif target.ndim == len(expected):
            hint = "were the scores upsampled to the size of the labels?"
        raise fail(
            f"`target` of shape {expected} for `{name}` of shape {shape_of(input)}",
            shape_of(target),
            hint,
        )
    return target.long()


def check_depths(
    depths: dict[str, Tensor | None],
    depth_mask: Tensor | None = None,
    shape: tuple[int, ...] | None = None,
) -> list[Tensor]:
    """Brings depths to (B, *S): that of a target if there is one, else what they agree on.

    Returns them in order. A mask is applied to ``target_depth`` here, so that behind the checks
    a masked pixel is just one more pixel without depth.
    """
    given: dict[str, Tensor] = {}
    for name, depth in depths.items():
        if depth is None:
            raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got None.")
        require_tensor(depth, name)
        if not depth.is_floating_point():
            raise TypeError(
                f"Expected `{name}` to be floating point, but got dtype {depth.dtype}: "
                f"did you mean {name}.float()?"
            )
        given[name] = depth
    if depth_mask is not None:
        require_tensor(depth_mask, "depth_mask")
        if depth_mask.dtype != torch.bool:
            raise TypeError(
                f"Expected `depth_mask` to be bool, but got dtype {depth_mask.dtype}: "
                "did you mean depth_mask.bool()?"
            )
        given["depth_mask"] = depth_mask
    first = next(iter(given))
    require_same_device(given[first], first, **given)
    if shape is None:
        shape = _common_shape(given)
    maps = {name: _drop_channel(depth, name, shape) for name, depth in given.items()}
    if depth_mask is not None:
        maps["target_depth"] = torch.where(maps.pop("depth_mask"), maps["target_depth"], 0)
    return list(maps.values())


def _common_shape(given: dict[str, Tensor]) -> tuple[int, ...]:
    """(B, *S) of maps without a target to go by; (B, 1, H, W) wins over (B, D, H, W)."""
    name, lowest = next(iter(given.items()))
    for other, depth in given.items():
        if depth.ndim < lowest.ndim:
            name, lowest = other, depth
    if not 3 <= lowest.ndim <= 5:
        raise fail(
            f"`{name}` of shape (B, H, W), (B, 1, H, W), (B, D, H, W) or (B, 1, D, H, W)",
            shape_of(lowest),
            "is the batch dimension there?" if lowest.ndim < 3 else None,
        )
    has_channel = lowest.ndim >= 4 and all(
        depth.ndim == lowest.ndim and depth.shape[1] == 1 for depth in given.values()
    )
    if lowest.ndim == 5 and not has_channel:
        raise fail(f"`{name}` to have one channel", shape_of(lowest))
    return (lowest.shape[0], *lowest.shape[2 if has_channel else 1 :])


def _drop_channel(depth: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    if tuple(depth.shape) == shape:
        return depth
    if tuple(depth.shape) == (shape[0], 1, *shape[1:]):
        return depth.squeeze(1)
    same_rank = depth.ndim in (len(shape), len(shape) + 1)
    raise fail(
        f"`{name}` of shape {shape} or {(shape[0], 1, *shape[1:])}",
        shape_of(depth),
        "is it at another resolution than the labels?" if same_rank else None,
    )


def shape_of(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


# --- values -------------------------------------------------------------------------------------


def check_labels(
    target: Tensor, labelled: Tensor, num_classes: int | None, ignore_index: int
) -> None:
    """Labels must lie in [0, num_classes) or equal ``ignore_index``. Reads the tensor."""
    if target.numel() == 0:
        return
    labels = torch.where(labelled, target, 0)
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low >= 0 and (num_classes is None or high < num_classes):
        return
    wrong = low if low < 0 else high
    top = "" if num_classes is None else f"{num_classes - 1}"
    likely = wrong in (-100, -1, 255) or (num_classes is not None and wrong > num_classes)
    raise fail(
        f"`target` to hold labels in [0, {top}] or ignore_index={ignore_index}",
        str(wrong),
        f"did you mean ignore_index={wrong}?" if likely else "do the labels start at 1?",
    )


def check_positive(input: Tensor, target_depth: Tensor, name: str = "pred_depth") -> None:
    """A depth that is about to be logged must be positive wherever it counts. Reads the tensor.

    NaN passes: a NaN in a prediction has to stay visible in the loss, as in every torch loss.
    """
    bad = depth_pixels(target_depth) & (input <= 0)
    if bool(bad.any()):
        smallest = float(torch.where(bad, input, 0).min())
        raise fail(
            f"`{name}` to be positive with log_input=False",
            f"{smallest:g}",
            "did you mean log_input=True?",
        )


class Batch(NamedTuple):
    """A checked batch: int64 labels, (B, *S) depths, and the pixels V_y and V_d that have them."""

    target: Tensor
    labelled: Tensor
    pred_depth: Tensor | None
    target_depth: Tensor | None
    known: Tensor | None

    def predicted(self) -> Tensor:
        """The predicted depth, for whoever cannot do without."""
        if self.pred_depth is None:
            raise TypeError(
                "Expected `pred_depth` to be a torch.Tensor, but got None: "
                'only LossWeightModule(fusion="dse") does without it.'
            )
        return self.pred_depth

    def true(self) -> tuple[Tensor, Tensor]:
        """The true depth and V_d, for whoever cannot do without."""
        if self.target_depth is None or self.known is None:
            raise TypeError("Expected `target_depth` to be a torch.Tensor, but got None.")
        return self.target_depth, self.known


def check_batch(
    logits: Tensor,
    target: Tensor,
    pred_depth: Tensor | None,
    target_depth: Tensor | None,
    depth_mask: Tensor | None,
    *,
    ignore_index: int,
    log_input: bool = True,
    read: bool = False,
    any_size: bool = False,
) -> Batch:
    """All checks of a batch, once for everything that is computed from it.

    ``read`` looks at the values wherever the tensors are.
    """
    target = check_target(logits, target, any_size=any_size)
    labelled = labelled_pixels(target, ignore_index)
    if read or can_read(target):
        num_classes = logits.shape[1] if logits.is_floating_point() else None
        check_labels(target, labelled, num_classes, ignore_index)
    depths = {"pred_depth": pred_depth, "target_depth": target_depth}
    given = {name: depth for name, depth in depths.items() if depth is not None}
    if depth_mask is not None and target_depth is None:
        raise TypeError("Expected `target_depth` with a `depth_mask`, but got None.")
    if given:
        require_same_device(logits, "logits", **given)
        given.update(zip(given, check_depths(dict(given), depth_mask, tuple(target.shape))))
    if len(given) == 2 and not log_input and (read or can_read(given["pred_depth"])):
        check_positive(given["pred_depth"], given["target_depth"])
    true = given.get("target_depth")
    return Batch(
        target,
        labelled,
        given.get("pred_depth"),
        true,
        None if true is None else depth_pixels(true),
    )


# --- options ------------------------------------------------------------------------------------


def check_cells(cells: Any) -> tuple[int, ...] | str:
    """A grid (h, w) or (d, h, w) of at least one cell an axis, or ``"pixel"``."""
    if cells == PIXEL:
        return PIXEL
    if isinstance(cells, str) or not isinstance(cells, Sequence) or len(cells) not in (2, 3):
        raise fail('`cells` to be (h, w), (d, h, w) or "pixel"', repr(cells))
    return tuple(require_int(count, "cells", minimum=1) for count in cells)


def check_depth_range(depth_range: Any) -> tuple[float, float]:
    if not isinstance(depth_range, Sequence) or len(depth_range) != 2:
        raise fail("`depth_range` to be a pair (low, high)", repr(depth_range))
    low = require_finite(depth_range[0], "depth_range")
    high = require_finite(depth_range[1], "depth_range")
    if not low < high:
        raise fail("`depth_range` to be (low, high) with low < high", repr(depth_range))
    return low, high
