"""What checks assert. Everything here raises, so that ``python -O`` changes nothing."""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from typing import NoReturn

import torch
from torch import Tensor


class Breach(AssertionError):  # noqa: N818 - the runner reports it as a ContractError
    """A contract is broken: what was found, and the code that shows it."""

    def __init__(self, finding: str, reproduce: str = "") -> None:
        super().__init__(finding)
        self.finding = finding
        self.reproduce = reproduce


class CheckSkipped(unittest.SkipTest):
    """A check that does not apply to this subject; pytest and unittest both read it as a skip."""


def breach(finding: str) -> NoReturn:
    """Raise a `Breach`."""
    raise Breach(finding)


def expect_same(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    tolerance: float,
    sentence: str = "{}",
    absolute: float = 0.0,
) -> None:
    """Raise a `Breach` unless results agree; ``{}`` in its sentence stands for the difference.

    Example:
        >>> expect_same({"x": torch.tensor(1.0)}, {"x": torch.tensor(2.0)}, 0.1, "again {}")
        Traceback (most recent call last):
        lwm_loss.testing.expect.Breach: again x is 1 in place of 2
    """
    words = difference(found, expected, tolerance, absolute)
    if words:
        raise Breach(sentence.replace("{}", words))


def expect_finite(tensors: Mapping[str, Tensor], sentence: str = "{}") -> None:
    """Raise a `Breach` if a tensor holds a value that is not finite."""
    words = not_finite(tensors)
    if words:
        raise Breach(sentence.replace("{}", words))


def expect_zero(tensor: Tensor | None, sentence: str) -> None:
    """Raise a `Breach` if a tensor holds another value than 0; ``{}`` stands for the largest."""
    if tensor is not None and bool((tensor != 0).any()):
        raise Breach(sentence.replace("{}", f"{float(tensor.abs().max()):.3g}"))


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Describe the first tensor that is not finite."""
    for name, tensor in tensors.items():
        bad = ~tensor.isfinite()
        if bool(bad.any()):
            value = float(tensor[bad][0])
            return f"{name} has {int(bad.sum())} of {tensor.numel()} values not finite ({value})"
    return None


def difference(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    tolerance: float,
    absolute: float = 0.0,
) -> str | None:
    """Describe the first result that differs by more than a tolerance; None if all agree.

    The tolerance is relative to the largest value of the expected result; ``absolute`` is allowed
    in any case. Not-a-number equals itself: that it is there at all is another check's business.
    """
    if list(found) != list(expected):
        return f"it returned {list(found)} in place of {list(expected)}"
    for name, tensor in found.items():
        words = _tensor_difference(name, tensor, expected[name], tolerance, absolute)
        if words:
            return words
    return None


def _tensor_difference(
    name: str, found: Tensor, expected: Tensor, tolerance: float, absolute: float
) -> str | None:
    if found.shape != expected.shape:
        return f"{name} has shape {tuple(found.shape)} in place of {tuple(expected.shape)}"
    if found.numel() == 0:
        return None
    # A half-precision subject cannot agree to more digits than it has.
    digits = [torch.finfo(x.dtype).eps for x in (found, expected) if x.is_floating_point()]
    if tolerance:
        tolerance = max([tolerance, *(20 * eps for eps in digits)])
    left, right = found.detach().double().cpu(), expected.detach().double().cpu()
    finite = torch.where(right.isfinite(), right.abs(), 0)
    allowed = max(tolerance * float(finite.max()), absolute)
    same = (left == right) | (left.isnan() & right.isnan())
    gap = torch.where(same, 0, (left - right).abs().nan_to_num(nan=torch.inf))
    worst = int(gap.argmax())
    if float(gap.flatten()[worst]) <= allowed:
        return None
    index = tuple(int(axis) for axis in torch.unravel_index(torch.tensor(worst), gap.shape))
    where = f" at {index}" if index else ""
    return (
        f"{name} is {float(left.flatten()[worst]):.6g} in place of "
        f"{float(right.flatten()[worst]):.6g}{where}"
    )
