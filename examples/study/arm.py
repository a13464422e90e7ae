"""What an arm of the study is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from examples.study.weightings import Setting, hard_pixels

Build = Callable[[Setting], nn.Module]


@dataclass(frozen=True)
class Arm:
    """One loss.

    Attributes:
        title: what the loss is.
        source: the equation and the row of a table that it follows, or why it is there.
        weighting: builds what weights L_h; None for no L_h.
        depth: whether there is L_d, and a depth decoder.
        alpha: weight of L_h.
        beta: weight of each side output's L_hk; 0 for none.
        curriculum: whether L_h and L_hk are filtered by the epoch (Eq. 8).
        replaces: the weighting weights L_s itself, and there is no L_h.
        detach_depth: the depth decoder learns from L_d alone, and L_d teaches nothing else.
        paper: the mean IoU in percent that the paper reports for it: RefineNet with ResNet-152 on
            NYUDv2, one run; None where it reports none.
    """

    title: str
    source: str
    weighting: Build | None = None
    depth: bool = True
    alpha: float = 1.0
    beta: float = 0.0
    curriculum: bool = False
    replaces: bool = False
    detach_depth: bool = False
    paper: float | None = None


def mined(**options: object) -> Build:
    """What builds the paper's M with these options of `lwm_loss.LossWeightModule`."""
    return lambda setting: hard_pixels(**options)  # type: ignore[arg-type]
