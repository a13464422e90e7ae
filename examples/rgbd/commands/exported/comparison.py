"""A file that `export` wrote, compared with the network that it was written from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from examples.rgbd.commands.exported.deployed import Deployed, Inputs
from examples.rgbd.commands.exported.formats import Runner
from examples.rgbd.options.groups import OptionError

_LEAST = 64  # pixels a side: torch.export wants the coarsest of the maps to have two
_CLOSE = 1e-3  # of the values' range; float32 in another order of operations
_ROUNDINGS = 4  # times what float32 changes in the network: two orders of operations round apart
_SAME = 0.999  # share of pixels whose label must be the same, where two scores nearly tie


def sizes_to_compare(height: int, width: int, fixed: bool) -> list[tuple[int, int, int]]:
    """Batches (B, H, W) that the file is run on; the example that it was made from is another."""
    if fixed:
        return [(1, height, width), (3, height, width)]
    less = max(height - 32, _LEAST)
    return [(1, height, width), (3, height, width), (2, less, width + 64), (1, height + 19, width)]


class Comparison(NamedTuple):
    """How close a file is to its network.

    Attributes:
        difference: largest over all batches and outputs, as a share of the values' range.
        same: share of equal labels.
        rounding: difference of the network in float32 from itself in float64 where the file differs
            by more than 1e-3 of the range, as it may for a depth that hardly varies; 0 elsewhere.
    """

    difference: float
    same: float
    rounding: float


@torch.no_grad()
def compare(
    deployed: Deployed, runner: Runner, sizes: Sequence[tuple[int, int, int]]
) -> Comparison:
    """Compare the outputs of a file with those of the network, over batches of several sizes.

    Raises:
        OptionError: the file gives something else than the network.
    """
    worst = Comparison(0.0, 1.0, 0.0)
    for size in sizes:
        inputs = deployed.example(*size)
        try:
            results = runner(inputs)
        except Exception as error:  # of the runtime, whatever it raises
            reason = " ".join(str(error).split())[-160:]
            raise OptionError(
                f"Expected the exported network to take images of {' x '.join(map(str, size[1:]))}, "
                f"but it does not ({reason}): did you mean --fixed-size?"
            ) from error
        wanted = [output.numpy() for output in deployed(*inputs)]
        for index, (name, expected, got) in enumerate(
            zip(deployed.names, wanted, results, strict=True)
        ):
            if got.shape != expected.shape:
                raise OptionError(
                    f"Expected {name} of shape {expected.shape} from the exported network, but got "
                    f"{got.shape}: did you mean --fixed-size?"
                )
            if name == "labels":
                found = Comparison(0.0, float((got == expected).mean()), 0.0)
            else:
                found = _compare_values(name, expected, got)
            if _CLOSE < found.difference < np.inf:
                exact = _in_float64(deployed, inputs)[index]
                found = found._replace(rounding=_difference(expected, exact))
            if found.difference > max(_CLOSE, _ROUNDINGS * found.rounding) or found.same < _SAME:
                raise OptionError(
                    "Expected the exported network to give what the network gives, but the values of "
                    f"{name} differ by {found.difference:.2g} of their range, and {found.same:.3%} of "
                    "the labels are the same."
                )
            worst = Comparison(
                max(worst.difference, found.difference),
                min(worst.same, found.same),
                max(worst.rounding, found.rounding),
            )
    return worst


def _compare_values(name: str, expected: NDArray[Any], got: NDArray[Any]) -> Comparison:
    if not np.isfinite(expected).all():
        raise OptionError(
            f"Expected finite {name} of the network, but they are not: did its training diverge?"
        )
    same = 1.0
    if name == "scores":
        same = float((got.argmax(1) == expected.argmax(1)).mean())
    return Comparison(_difference(expected, got), same, 0.0)


def _difference(expected: NDArray[Any], got: NDArray[Any]) -> float:
    """Largest difference, as a share of the range of ``expected``; infinite if ``got`` is not finite."""
    spread = max(float(np.ptp(expected)), 1e-6)
    difference = float(np.abs(got - expected).max()) / spread
    return difference if np.isfinite(difference) else np.inf


def _in_float64(deployed: Deployed, inputs: Inputs) -> list[NDArray[Any]]:
    exact = copy.deepcopy(deployed).double()
    return [output.numpy() for output in exact(*(each.double() for each in inputs))]
