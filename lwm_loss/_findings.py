"""What depth and its prediction look like where they are in a wrong unit: the findings of validate."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from ._pixels import depth_pixels
from .regions import Regions

# Fewer pixels say nothing about a unit.
ENOUGH_PIXELS = 16
# From this share of the known pixels on, depth outside of the range is no stray measurement. Levels
# have an upper end by definition, a lower one only if they are clamped.
ABOVE, BELOW = 0.005, 0.1
# One value on this share of an image's pixels is a fill if hardly any other pixel is as near to it as
# NEAR (of the range): where depth is stored in steps it goes on beside the value. Depth that was clamped
# lies at the very end; there a whole row or column must hold the value as well, and no large part of
# the image.
FILLED, NEAR, BESIDE, LARGE = 0.05, 0.02, 0.1, 0.3
SPREAD = 1.08  # the farthest over the nearest depth: less is a flat wall, also of its log
ALIKE = 0.995  # the correlation of what differs by scale and offset alone
# A prediction that follows the depth as closely as this has learnt it. Then it is no log of the depth
# if it lies farther from it than OFFSET, or changes more than STEEP times as much.
FOLLOWS, OFFSET, STEEP = 0.75, 0.6, 1.5


def share_of(pixels: Tensor) -> float:
    return float(pixels.double().mean()) if pixels.numel() else 0.0


def depth_findings(depth: Tensor, values: Tensor, regions: Regions) -> Iterator[str]:
    """Say what is unlikely about the known depths of a batch."""
    low, high = regions.depth_range
    if values.numel() == 0:
        yield (
            "No depth is known in this batch (0, negative, NaN and inf are missing), so that R and "
            "Z are 0 and L_h with them: is it the right tensor, and does depth_mask keep anything?"
        )
        return
    if values.numel() < ENOUGH_PIXELS:
        return
    nearest, farthest, middle = (float(x) for x in (values.min(), values.max(), values.median()))
    seen = f"`target_depth` lies in [{nearest:.4g}, {farthest:.4g}], median {middle:.4g}"
    flat = farthest < SPREAD * nearest
    above, below = share_of(values > high), share_of(values < low)
    if above > ABOVE:
        yield (
            f"{seen}: {above:.1%} of it is above depth_range=({low:g}, {high:g}). Is it in "
            "millimetres (or centimetres, or raw sensor values) in place of levels? Did you mean "
            "LF.rescale_depth(depth / 1000, near, far)?"
        )
        return
    if not flat and farthest < low + regions.bin_size and regions.num_bins > 2:
        bins = f"all of it is in the first of {regions.num_bins} depth bins"
        yield f"{seen}: {bins}. {_unit(values, high)}"
        return
    if not flat and below > BELOW:
        yield (
            f"{seen}: {below:.0%} of it is below depth_range=({low:g}, {high:g}). Is it in another "
            "unit than the range (metres, an inverse depth)?"
        )
        return
    if not flat and _in_tenths(values):
        yield (
            f"{seen}, and all of it is whole tenths, as levels hardly are. Is it in centimetres in "
            "place of levels? Did you mean LF.rescale_depth(depth / 100, near, far)?"
        )
    for image in depth.double():
        value, share = _fill(image, regions)
        if share > 0:
            yield (
                f"{share:.0%} of the known `target_depth` of an image is exactly {value:g}, at an end "
                f"of depth_range=({low:g}, {high:g}), and next to nothing is near it. Did an "
                "augmentation fill in that value where there is no image (fill depth with 0, which is "
                'missing), or do near and far clamp so much (LF.rescale_depth(..., beyond="missing"))?'
            )
            return


def _in_tenths(values: Tensor) -> bool:
    """Whether all values are multiples of 0.1, and not all of 1: millimetres over 10."""
    tenths = values * 10
    return bool(((tenths - tenths.round()).abs() < 1e-3).all()) and not bool(
        ((values - values.round()).abs() < 1e-3).all()
    )


def _fill(image: Tensor, regions: Regions) -> tuple[float, float]:
    """Find the value at an end of the range that an augmentation filled in, and its share, or 0."""
    values = image[depth_pixels(image)]
    low, high = regions.depth_range
    margin = NEAR * (high - low)
    if values.numel() < ENOUGH_PIXELS or float(values.max()) < SPREAD * float(values.min()):
        return 0.0, 0.0
    for end in (values.min(), values.max()):
        value, share = float(end), share_of(values == end)
        at_an_end = value <= low + margin or value >= high - margin
        beside = share_of((values != end) & ((values - end).abs() <= margin))
        if not at_an_end or share <= FILLED or beside >= BESIDE * share:
            continue
        held = image == end
        in_lines = bool(held.all(-1).any() | held.all(-2).any())
        if value not in (low, high) or (in_lines and share < LARGE):
            return value, share
    return 0.0, 0.0


def _unit(values: Tensor, high: float) -> str:
    """Guess the unit of depths that all lie in the first bin."""
    farthest, middle = float(values.max()), float(values.median())
    if farthest <= math.log(10.5):
        return (
            "Is it an inverse (a disparity), a log, or depth divided by its maximum? `target_depth` "
            "is depth itself, in levels: did you mean LF.rescale_depth(metres, near, far)?"
        )
    if farthest <= math.log(high) + 0.01 and middle > 0.75 * farthest:
        return (
            "Is it the log of levels (or in metres)? `target_depth` is never in logs: did you mean "
            "depth.exp()?"
        )
    log = " (or the log of levels)" if farthest <= math.log(high) + 0.01 else ""
    return f"Is it in metres{log}? Did you mean LF.rescale_depth(depth, near, far)?"


def prediction_findings(predicted: Tensor, values: Tensor, log_input: bool) -> Iterator[str]:
    """Say whether a prediction looks as if it were no log, or one where none was announced."""
    if values.numel() < ENOUGH_PIXELS or not bool(predicted.isfinite().all()):
        return
    to_log, to_depth = (
        float((predicted - truth).abs().median()) for truth in (values.log(), values)
    )
    middle = float(predicted.median())
    alike = {name: _correlation(predicted, truth) for name, truth in _readings(values)}
    best = max(alike, key=lambda name: alike[name])
    # Half an e-fold from the depth itself, or so large that its exponential is no depth.
    looks_plain = to_depth < 0.5 * to_log or middle > math.log(float(values.max())) + 3
    if log_input and looks_plain:
        yield (
            f"`pred_depth` has the median {middle:.4g}, whose exponential is {_exp(middle):.3g} for "
            f"a true median of {float(values.median()):.4g}: is it depth and no log-depth? Did you "
            "mean pred_depth.log(), or log_input=False in the weighting?"
        )
    elif log_input and not _is_log(predicted, values, alike, best):
        how = "" if best == "the log of" else " more closely than its log"
        offset, slope = _offset_and_slope(predicted, values.log())
        yield (
            f"`pred_depth` follows {best} the true depth{how}, lies {offset:+.2g} from that log and "
            f"changes {slope:.2g} times as much: is it in another unit (metres, their log, an "
            "inverse)? Did you mean pred_depth.log() of levels, or log_input=False in the weighting?"
        )
    if not log_input and to_log < 0.5 and to_log < 0.1 * to_depth:
        yield (
            f"`pred_depth` has the median {middle:.4g}, the log of the true depth's "
            f"{float(values.median()):.4g}: is it log-depth? Did you mean log_input=True?"
        )


def _is_log(predicted: Tensor, values: Tensor, alike: dict[str, float], best: str) -> bool:
    """Whether a prediction may be the log of the depth: learnt and in its place, or not learnt yet."""
    if float(values.max()) < SPREAD * float(values.min()) or alike[best] < FOLLOWS:
        return True
    if best == "the inverse of" or alike[best] > ALIKE > alike["the log of"] + 0.003:
        return False
    offset, slope = _offset_and_slope(predicted, values.log())
    return abs(offset) < OFFSET and slope < STEEP


def _offset_and_slope(predicted: Tensor, truth: Tensor) -> tuple[float, float]:
    """The median of what lies between them, and the slope of the line through them."""
    apart = truth - truth.mean()
    slope = float((predicted * apart).sum() / apart.square().sum().clamp(min=1e-12))
    return float((predicted - truth).median()), slope


def _readings(values: Tensor) -> list[tuple[str, Tensor]]:
    """What a prediction may mean."""
    return [("the log of", values.log()), ("the scale of", values), ("the inverse of", 1 / values)]


def _correlation(one: Tensor, other: Tensor) -> float:
    one, other = one - one.mean(), other - other.mean()
    norm = one.norm() * other.norm()
    return float((one * other).sum() / norm) if bool(norm > 0) else 0.0


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
