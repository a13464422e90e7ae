"""The arms of the study: each is a name, what it adds to L_s + L_d, and where that stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

import lwm_loss as lwm
from examples.rgbd.data import SAMPLE_VOID as VOID
from examples.study import weight_maps
from examples.study import weightings as W
from examples.study.weightings import Equal, Setting, hard_pixels

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


def _mined(**options: object) -> Build:
    return lambda setting: hard_pixels(**options)  # type: ignore[arg-type]


def _equal(weigh: Callable[[W.Facts], Tensor], **options: object) -> Build:
    return lambda setting: Equal(weigh, **options)  # type: ignore[arg-type]


def _classes(setting: Setting) -> int:
    return len(setting.class_share)


def _min_kept(setting: Setting) -> int:
    """OHEM keeps at least a sixteenth of an image, as 100,000 pixels of 1024 x 2048 are about."""
    height, width = setting.grid
    return height * width // 16


ARMS: dict[str, Arm] = {
    # Table II
    "s": Arm("L_s", "Eq. 1; Table II, row 1", depth=False),
    "sd": Arm("L_s + L_d", "Eqs. 1 and 2; Table II, row 2"),
    "sd+ms": Arm(
        "L_s + L_d + side outputs",
        "Table II, row 3: L_hk of Eq. 5 with a weight of 1, no L_h",
        lambda setting: W.Ones(),
        alpha=0.0,
        beta=0.1,
    ),
    "sd+cl": Arm(
        "L_s on easy pixels + L_d",
        "Table II, row 4: Eq. 8's indicator on L_s",
        lambda setting: W.EasyPixels(),
        replaces=True,
    ),
    "r": Arm("L_s + L_d + L_h(R)", "Eq. 4, M = R; Table II, row 5", _mined(fusion="dpe")),
    "z": Arm("L_s + L_d + L_h(Z)", "Eqs. 3 and 4, M = Z; Table II, row 6", _mined(fusion="dse")),
    "rz": Arm("L_s + L_d + L_h(R + Z)", "Eq. 4; Table II, row 7", _mined()),
    "hpm": Arm("L_HPM", "Eq. 5; Table II, row 8", _mined(), beta=0.1),
    "full": Arm("L_T", "Eqs. 8 and 9; Table II, row 9", _mined(), beta=0.1, curriculum=True),
    # Table IV
    "ohem": Arm(
        "L_s + L_d + OHEM",
        "Table IV: 1 where p < 0.7, in M's place",
        lambda setting: lwm.OHEMWeighting(0.7, _min_kept(setting), VOID),
    ),
    "focal": Arm(
        "L_s + L_d + focal",
        "Table IV: (1 - p)^2, in M's place",
        lambda setting: lwm.FocalWeighting(2.0, VOID),
    ),
    "lmp": Arm(
        "L_s + L_d + loss max-pooling",
        "Table IV: p = 1.7, ratio 0.3, in M's place",
        lambda setting: lwm.LossMaxPoolingWeighting(ignore_index=VOID),
    ),
    "ohem-alone": Arm(
        "OHEM + L_d",
        "Table IV, in L_s's place",
        lambda setting: lwm.OHEMWeighting(0.7, _min_kept(setting), VOID),
        replaces=True,
    ),
    "focal-alone": Arm(
        "focal + L_d",
        "Table IV, in L_s's place",
        lambda setting: lwm.FocalWeighting(2.0, VOID),
        replaces=True,
    ),
    "lmp-alone": Arm(
        "loss max-pooling + L_d",
        "Table IV, in L_s's place",
        lambda setting: lwm.LossMaxPoolingWeighting(ignore_index=VOID),
        replaces=True,
    ),
    # Controls of equal mass, which the paper lacks
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
    # Class weights
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
    # When and how
    "late": Arm(
        "R + Z in the second half", "Eq. 4, M = 0 before", lambda setting: W.Late(hard_pixels())
    ),
    "detached": Arm(
        "R + Z, L_d apart",
        "Eq. 4, the gradient of L_d reaches the depth decoder alone",
        _mined(),
        detach_depth=True,
    ),
    "z-average": Arm(
        "Z averaged over visits",
        "Eqs. 3 and 4, moving average with share 0.5",
        lambda setting: W.AveragedZ(setting.frames, setting.grid),
    ),
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

# The alternatives to Delta within Z.
for _error in ("probability", "loss"):
    ARMS[f"z:error={_error}"] = Arm(
        f"L_s + L_d + L_h(Z of the {_error})",
        "Eqs. 3 and 4 with another error in Delta's place; section III-B2",
        _mined(fusion="dse", error=_error),
    )

# Table III (all on L_HPM), and Fig. 7.
for _mode in ("max", "product"):
    ARMS[f"hpm:fusion={_mode}"] = Arm(
        f"L_HPM, {_mode}", "Eq. 5; Table IIIa", _mined(fusion=_mode), beta=0.1
    )
for _cells, _name in (((1, 1), "1x1"), ((16, 16), "16x16"), ("pixel", "pixel")):
    ARMS[f"hpm:cells={_name}"] = Arm(
        f"L_HPM, {_name} cells", "Eq. 5; Table IIIb", _mined(cells=_cells), beta=0.1
    )
for _size in (1, 50, 100):
    ARMS[f"hpm:bin={_size}"] = Arm(
        f"L_HPM, bins of {_size}", "Eq. 5; Table IIIc", _mined(bin_size=float(_size)), beta=0.1
    )
for _value in (0.01, 0.1, 10.0, 100.0):
    ARMS[f"hpm:alpha={_value:g}"] = Arm(
        f"L_HPM, alpha {_value:g}", "Eq. 5; Fig. 7", _mined(), alpha=_value, beta=0.1
    )
for _value in (0.01, 1.0, 10.0, 100.0):
    ARMS[f"hpm:beta={_value:g}"] = Arm(
        f"L_HPM, beta {_value:g}", "Eq. 5; Fig. 7", _mined(), beta=_value
    )

BASELINE, CONTROL = "sd", "uniform"

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
