"""All arms of the study: the paper's, the controls that the paper lacks, and what else might help."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from examples.study import weight_maps
from examples.study import weightings as W
from examples.study.arm import Arm, Build, mined
from examples.study.paper_arms import SWEEPS, TABLE_II, TABLE_III, TABLE_IV
from examples.study.weightings import Equal, Setting, hard_pixels


def _equal(weigh: Callable[[W.Facts], Tensor], **options: object) -> Build:
    return lambda setting: Equal(weigh, **options)  # type: ignore[arg-type]


def _classes(setting: Setting) -> int:
    return len(setting.class_share)


_CONTROLS: dict[str, Arm] = {
    "2s": Arm("2 L_s + L_d", "a second L_s: Eq. 4 with M = 1", lambda setting: W.Ones()),
    "uniform": Arm(
        "uniform", "Eq. 4, M's mean over the batch everywhere", lambda setting: W.Uniform()
    ),
    "uniform-image": Arm(
        "uniform in each image",
        "Eq. 4, M's mean over the image everywhere",
        lambda setting: W.Uniform(by_image=True),
    ),
    "shuffled": Arm(
        "M shuffled",
        "Eq. 4, M permuted within the image",
        lambda setting: W.Shuffled(setting.seed),
    ),
    "other-image": Arm(
        "M of another image",
        "Eq. 4, M rolled by one image, M's mass",
        _equal(weight_maps.another_image),
    ),
    "delta": Arm("Delta alone", "Eq. 4, Delta with M's mass", _equal(weight_maps.wrong)),
    "easy": Arm("2 - M", "Eq. 4, 2 - M with M's mass", _equal(weight_maps.opposite)),
}

_CLASS_WEIGHTS: dict[str, Arm] = {
    "cw": Arm(
        "class weights",
        "Eq. 4, 1 / sqrt(share of the class) with M's mass",
        lambda setting: Equal(weight_maps.ClassWeights(setting.class_share)),
    ),
    "cw*m": Arm(
        "class weights times M",
        "Eq. 4, M / sqrt(share of the class) with M's mass",
        lambda setting: Equal(weight_maps.ClassWeights(setting.class_share).times_mined),
    ),
}

_VARIANTS: dict[str, Arm] = {
    "late": Arm(
        "R + Z in the second half", "Eq. 4, M = 0 before", lambda setting: W.Late(hard_pixels())
    ),
    "detached": Arm(
        "R + Z, L_d apart",
        "Eq. 4, the gradient of L_d reaches the depth decoder alone",
        mined(),
        detach_depth=True,
    ),
    "sd:detached": Arm(
        "L_s + L_d, L_d apart",
        "Eqs. 1 and 2, as detached but without L_h: what of that arm is not R + Z",
        detach_depth=True,
    ),
    "z-average": Arm(
        "Z averaged over visits",
        "Eqs. 3 and 4, moving average with share 0.5",
        lambda setting: W.AveragedZ(setting.frames, setting.grid),
    ),
    # The alternatives to Delta within Z.
    **{
        f"z:error={error}": Arm(
            f"L_s + L_d + L_h(Z of the {error})",
            "Eqs. 3 and 4 with another error in Delta's place; section III-B2",
            mined(fusion="dse", error=error),
        )
        for error in ("probability", "loss")
    },
}

_OTHER_WEIGHTS: dict[str, Arm] = {
    "depth-edges": Arm(
        "depth edges", "Eq. 4, 1 at depth edges, M's mass", _equal(weight_maps.at_depth_edges)
    ),
    "edges-early": Arm(
        "depth edges, first half",
        "as depth-edges, 0 after half of the steps",
        _equal(weight_maps.at_depth_edges, until=0.5),
    ),
    "edges-half": Arm(
        "depth edges, half mass",
        "as depth-edges, half of M's mass",
        _equal(weight_maps.at_depth_edges, scale=0.5),
    ),
    "edges-double": Arm(
        "depth edges, double mass",
        "as depth-edges, twice M's mass",
        _equal(weight_maps.at_depth_edges, scale=2.0),
    ),
    "outlines": Arm(
        "label boundaries at depth edges",
        "Eq. 4, 1 where both are, M's mass",
        _equal(weight_maps.boundaries_at_depth_edges),
    ),
    "flat-boundaries": Arm(
        "label boundaries in flat depth",
        "Eq. 4, 1 there, M's mass",
        _equal(weight_maps.boundaries_in_flat_depth),
    ),
    "boundaries": Arm(
        "label boundaries",
        "Eq. 4, 1 there, whatever the depth, M's mass: what of the two arms above needs no depth",
        _equal(weight_maps.boundaries),
    ),
    "no-edges": Arm(
        "M but at depth edges",
        "Eq. 4, M set to 0 at depth edges",
        _equal(weight_maps.away_from_depth_edges),
    ),
    "surface": Arm("depth squared", "Eq. 4, D*^2 with M's mass", _equal(weight_maps.surface)),
    "closeness": Arm("inverse depth", "Eq. 4, 1 / D* with M's mass", _equal(weight_maps.closeness)),
    "above-class": Arm(
        "Z above the class's rate",
        "Eq. 4, max(Z - the class's error rate, 0) with M's mass",
        lambda setting: Equal(weight_maps.AboveClass(_classes(setting))),
    ),
    "region-rare": Arm(
        "rare in the region",
        "Eq. 4, 1 / sqrt(share of the class in its depth-aware region)",
        lambda setting: Equal(weight_maps.Rarity(_classes(setting), "region")),
    ),
    "bin-rare": Arm(
        "rare at the depth",
        "Eq. 4, 1 / sqrt(pixels of the class in its depth bin)",
        lambda setting: Equal(weight_maps.Rarity(_classes(setting), "bin")),
    ),
    "cw+edges": Arm(
        "class weights, double at depth edges",
        "Eq. 4, with M's mass",
        lambda setting: Equal(weight_maps.ClassWeights(setting.class_share).times_depth_edges),
    ),
}

GROUPS: dict[str, dict[str, Arm]] = {
    "Table II": TABLE_II,
    "Table III": TABLE_III,
    "Table IV": TABLE_IV,
    "Fig. 7": SWEEPS,
    "Controls of equal mass": _CONTROLS,
    "Class weights": _CLASS_WEIGHTS,
    "Other ways to take M": _VARIANTS,
    "Other weights": _OTHER_WEIGHTS,
}
"""All arms, in the order of tables and figures."""

ARMS: dict[str, Arm] = {name: arm for group in GROUPS.values() for name, arm in group.items()}

BASELINE, CONTROL = "sd", "uniform"


def gain_in_paper(name: str) -> float | None:
    """Points of mean IoU that the paper's run of an arm lies above that of L_s + L_d.

    None for L_s + L_d itself, and for an arm that the paper does not have.
    """
    own, other = (ARMS[each].paper if each in ARMS else None for each in (name, BASELINE))
    return None if name == BASELINE or own is None or other is None else own - other


MAIN = (
    "sd", "rz", "uniform", "z", "r", "s", "depth-edges", "cw", "cw*m", "shuffled",
    "hpm", "full", "2s", "ohem", "focal", "lmp", "easy", "delta", "other-image",
)  # fmt: skip
"""The arms of most importance, the most important first."""

CANDIDATES = (
    "depth-edges", "edges-early", "edges-half", "edges-double", "outlines", "flat-boundaries",
    "no-edges", "surface", "closeness", "above-class", "region-rare", "bin-rare", "uniform-image",
    "cw+edges", "z-average",
)  # fmt: skip
"""What is compared on held-out frames to find something that helps."""
