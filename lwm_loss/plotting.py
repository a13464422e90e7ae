"""Plots of loss weight maps (Fig. 8). They need matplotlib, the extra ``plot``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ._checks import fail, shape_of
from ._frame_maps import FrameMaps, select_frame
from .curriculum import SelfPacedCurriculum
from .weighting import LossWeightModule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_weight_maps"]

VOID_COLOUR = (0.80, 0.80, 0.80)
MISSING_COLOUR = (0.55, 0.55, 0.55)
DROPPED_COLOUR = (0.36, 0.60, 0.72)
_ROWS, _COLUMNS = 3, 3
_PANEL_WIDTH = 3.5  # inches
_LEGEND_WIDTH = 1.7
_LEGEND_ROW = 0.19  # of a small font


def plot_weight_maps(
    image: Tensor,
    target: Tensor,
    logits: Tensor,
    pred_depth: Tensor,
    target_depth: Tensor,
    weighting: LossWeightModule,
    *,
    index: int = 0,
    curriculum: SelfPacedCurriculum | None = None,
    class_names: Sequence[str] | None = None,
    palette: Any = None,
    metres: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    r"""Plot the input, the intermediate maps and the weight map M of one image of a batch.

    The nine panels are the image, label and prediction; the true and the predicted depth and their
    error R; the error rate Z of the depth-aware regions; the weight map M = F(R, Z); and the part of
    M that the curriculum keeps or, without a curriculum, the misclassified pixels. Brighter pixels
    have larger weights; pixels without a label and pixels without depth are grey.

    Args:
        image: (B, 3, H, W): uint8, or floating point in [0, 1]; a normalised image is stretched
            to its own range.
        target: integer labels (B, H, W).
        logits: scores (B, C, H, W).
        pred_depth: predicted log-depth (with ``log_input=False``: depth), (B, H, W) or
            (B, 1, H, W).
        target_depth: true depth, same shapes.
        weighting: computes R, Z and M; its ``ignore_index`` is the label of void.
        index: position of the image in the batch.
        curriculum: if given, its filter of M at its current epoch is the last panel.
        class_names: names of the classes in the legend; without them, class indices.
        palette: (C, 3) colours in [0, 255]; by default, matplotlib's ``tab20``.
        metres: (near, far) that were passed to :func:`lwm_loss.functional.rescale_depth`; depth is
            then plotted in metres, and by default in levels.
        title: title of the figure.

    Returns:
        A figure that is not registered with ``pyplot``: save it by ``figure.savefig(path)``.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: an argument has the wrong type or kind of dtype.
        ValueError: shapes do not fit, or ``index`` is not in the batch.

    Example:
        >>> image, target = torch.rand(1, 3, 24, 32), torch.ones(1, 24, 32, dtype=torch.long)
        >>> logits, depth = torch.rand(1, 3, 24, 32), torch.full((1, 24, 32), 9.0)
        >>> log_depth = torch.rand(1, 24, 32)
        >>> figure = plot_weight_maps(image, target, logits, log_depth, depth, LossWeightModule())
        >>> figure.savefig("maps.png")                                 # doctest: +SKIP
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Expected matplotlib to draw with, but it is not installed: did you mean "
            'pip install "lwm-loss[plot]"?'
        ) from error
    frame = select_frame(
        image, target, logits, pred_depth, target_depth, weighting, index, curriculum
    )
    colours = _palette(logits.shape[1], palette)
    height, width = frame.target.shape
    figure = Figure(
        figsize=(
            _COLUMNS * _PANEL_WIDTH + _LEGEND_WIDTH,
            _ROWS * (0.86 * _PANEL_WIDTH * height / width + 0.35) + (0.4 if title else 0.0),
        ),
        layout="constrained",
    )
    axes: list[Axes] = list(figure.subplots(_ROWS, _COLUMNS).flat)
    for panel in axes:
        panel.set_axis_off()
    _show_labels(axes, frame, colours)
    _show_depths(axes[3:5], frame, metres, weighting.regions.depth_range)
    _show_weights(axes[5:], frame, weighting.fusion)
    figure.legend(
        handles=_legend(frame, colours, class_names, figure.get_figheight()),
        loc="outside right upper",
        frameon=False,
        fontsize="small",
    )
    if title:
        figure.suptitle(title)
    return figure


def _palette(num_classes: int, palette: Any) -> Tensor:
    """Return the colour of every class, (C, 3) in [0, 1]."""
    if palette is not None:
        colours = torch.as_tensor(palette).float() / 255
        if colours.ndim != 2 or colours.shape[0] < num_classes or colours.shape[1] != 3:
            raise fail(f"`palette` of shape ({num_classes}, 3)", shape_of(colours))
        return colours
    from matplotlib import colormaps

    # The twenty colours of tab20, repeated a quarter darker each time.
    base = torch.tensor(colormaps["tab20"].colors)  # type: ignore[attr-defined]
    rounds = math.ceil(num_classes / len(base))
    return torch.cat([base * 0.75**turn for turn in range(rounds)])[:num_classes]


def _paint(classes: Tensor, shown: Tensor, colours: Tensor) -> Tensor:
    """Colour a map of classes; pixels that are not shown get the colour of void."""
    painted = colours[torch.where(shown, classes, 0).long()]
    return torch.where(shown[..., None], painted, torch.tensor(VOID_COLOUR))


def _show_labels(axes: Sequence[Axes], frame: FrameMaps, colours: Tensor) -> None:
    everywhere = torch.ones_like(frame.labelled)
    right = ((frame.predicted == frame.target) & frame.labelled).sum() / frame.labelled.sum().clamp(
        min=1
    )
    for panel, picture, name in (
        (axes[0], frame.image, "image"),
        (axes[1], _paint(frame.target, frame.labelled, colours), "label"),
        (
            axes[2],
            _paint(frame.predicted, everywhere, colours),
            f"prediction ({100 * float(right):.0f} % right)",
        ),
    ):
        panel.imshow(picture.numpy(), interpolation="nearest")
        panel.set_title(name)


def _show_map(
    panel: Axes,
    values: Tensor,
    name: str,
    *,
    cmap: str,
    low: float,
    high: float,
    masked: Sequence[tuple[Tensor, tuple[float, float, float]]] = (),
    unit: str = "",
) -> None:
    """Plot one map and its colour bar; each mask covers its pixels with one colour."""
    from matplotlib.ticker import MaxNLocator

    shown = {"vmin": low, "vmax": high, "cmap": cmap, "interpolation": "nearest"}
    drawn = panel.imshow(values.numpy(), **shown)  # type: ignore[arg-type]
    for mask, colour in masked:
        layer = torch.zeros(*mask.shape, 4)
        layer[mask] = torch.tensor([*colour, 1.0])
        panel.imshow(layer.numpy(), interpolation="nearest")
    beside = panel.inset_axes((1.02, 0.0, 0.04, 1.0))
    bar = panel.figure.colorbar(drawn, cax=beside, ticks=MaxNLocator(5))
    bar.ax.tick_params(labelsize="x-small")
    bar.ax.set_title(unit, fontsize="x-small")
    panel.set_title(name)


def _show_depths(
    axes: Sequence[Axes],
    frame: FrameMaps,
    metres: tuple[float, float] | None,
    depth_range: tuple[float, float],
) -> None:
    depth, predicted, unit = frame.depth, frame.pred_depth, "level"
    if metres is not None:
        low, high = depth_range
        scale = (metres[1] - metres[0]) / (high - low)
        depth = metres[0] + (depth - low) * scale
        predicted = metres[0] + (predicted - low) * scale
        unit = "m"
    seen = depth[frame.known] if bool(frame.known.any()) else predicted.flatten()
    low, high = float(seen.min()), float(seen.max())
    high = high if high > low else low + 1.0
    missing = [(~frame.known, MISSING_COLOUR)]
    for panel, values, masked, name in (
        (axes[0], depth, missing, "true depth"),
        (axes[1], predicted, [], "predicted depth"),
    ):
        _show_map(panel, values, name, cmap="viridis", low=low, high=high, masked=masked, unit=unit)


def _show_weights(axes: Sequence[Axes], frame: FrameMaps, fusion: str) -> None:
    missing, void = (~frame.known, MISSING_COLOUR), (~frame.labelled, VOID_COLOUR)
    # R and Z share the scale [0, 1]; M is shown up to its maximum, for it seldom reaches 2.
    top = float(frame.weight.max()) or 1.0
    formula = {"sum": "R + Z", "product": "R · Z", "max": "max(R, Z)", "dpe": "R", "dse": "Z"}
    maps = [
        (frame.dpe, "R: error of the depth", 1.0, [missing]),
        (frame.dse, "Z: error rate of the region", 1.0, [missing, void]),
        (frame.weight, f"M = {formula[fusion]}: the loss weight", top, [void]),
    ]
    if frame.kept is not None:
        dropped = (frame.kept != frame.weight) & frame.labelled
        share = 1 - float(dropped.sum() / frame.labelled.sum().clamp(min=1))
        name = f"M that the curriculum keeps ({100 * share:.0f} %)"
        maps.append((frame.kept, name, top, [(dropped, DROPPED_COLOUR), void]))
    else:
        wrong = (frame.predicted != frame.target) & frame.labelled
        share = float(wrong.sum() / frame.labelled.sum().clamp(min=1))
        name = f"wrong pixels ({100 * share:.0f} %)"
        maps.append((wrong.float(), name, 1.0, [void]))
    for panel, (values, name, high, masked) in zip(axes, maps):
        _show_map(panel, values, name, cmap="magma", low=0.0, high=high, masked=masked)


def _legend(
    frame: FrameMaps, colours: Tensor, class_names: Sequence[str] | None, height: float
) -> list[Any]:
    """List the classes that occur and the colours of the masks, as many as `height` inches hold."""
    from matplotlib.patches import Patch

    masks = []
    if not bool(frame.labelled.all()):
        masks.append(Patch(facecolor=VOID_COLOUR, label="void (no label)"))
    if not bool(frame.known.all()):
        masks.append(Patch(facecolor=MISSING_COLOUR, label="no depth"))
    if frame.kept is not None and bool((frame.kept != frame.weight).any()):
        masks.append(Patch(facecolor=DROPPED_COLOUR, label="left out for now"))
    both = torch.cat([frame.target[frame.labelled], frame.predicted.flatten()]).long()
    counts = torch.bincount(both, minlength=len(colours))
    names = [str(index) for index in range(len(colours))] if class_names is None else class_names
    return legend_of_classes(counts, colours.tolist(), names, masks, height)


def legend_of_classes(
    counts: Tensor,
    colours: Sequence[Any],
    names: Sequence[str],
    masks: Sequence[Any],
    height: float,
) -> list[Any]:
    """List the classes that occur, most frequent first, and behind them the `masks`.

    Classes that a figure of `height` inches has no room for are counted in place of the last one.
    """
    from matplotlib.patches import Patch

    present = [index for index in counts.argsort(descending=True).tolist() if counts[index]]
    room = max(int(height / _LEGEND_ROW) - len(masks), 2)
    shown = present if len(present) <= room else present[: room - 1]
    entries = [Patch(facecolor=tuple(colours[index]), label=names[index]) for index in shown]
    if len(shown) < len(present):
        others = f"and {len(present) - len(shown)} classes more"
        entries.append(Patch(facecolor="none", edgecolor="none", label=others))
    return [*entries, *masks]
