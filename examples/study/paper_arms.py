"""The arms that the paper has: its Tables II, III and IV, and its Fig. 7."""

from __future__ import annotations

import lwm_loss as lwm
from examples.rgbd.data import SAMPLE_VOID as VOID
from examples.study import weightings as W
from examples.study.arm import Arm, mined
from examples.study.weightings import Setting


def _min_kept(setting: Setting) -> int:
    """OHEM keeps at least a sixteenth of an image, as 100,000 pixels of 1024 x 2048 are about."""
    height, width = setting.grid
    return height * width // 16


TABLE_II: dict[str, Arm] = {
    "s": Arm("L_s", "Eq. 1; Table II, row 1", depth=False, paper=46.59),
    "sd": Arm("L_s + L_d", "Eqs. 1 and 2; Table II, row 2", paper=47.25),
    "sd+ms": Arm(
        "L_s + L_d + side outputs",
        "Table II, row 3: L_hk of Eq. 5 with a weight of 1, no L_h",
        lambda setting: W.Ones(),
        alpha=0.0,
        beta=0.1,
        paper=47.51,
    ),
    "sd+cl": Arm(
        "L_s on easy pixels + L_d",
        "Table II, row 4: Eq. 8's indicator on L_s",
        lambda setting: W.EasyPixels(),
        replaces=True,
        paper=47.84,
    ),
    "r": Arm(
        "L_s + L_d + L_h(R)",
        "Eq. 4, M = R; Table II, row 5",
        mined(fusion="dpe"),
        paper=49.15,
    ),
    "z": Arm(
        "L_s + L_d + L_h(Z)",
        "Eqs. 3 and 4, M = Z; Table II, row 6",
        mined(fusion="dse"),
        paper=49.63,
    ),
    "rz": Arm("L_s + L_d + L_h(R + Z)", "Eq. 4; Table II, row 7", mined(), paper=50.31),
    "hpm": Arm("L_HPM", "Eq. 5; Table II, row 8", mined(), beta=0.1, paper=50.93),
    "full": Arm(
        "L_T",
        "Eqs. 8 and 9; Table II, row 9",
        mined(),
        beta=0.1,
        curriculum=True,
        paper=51.51,
    ),
}

TABLE_III: dict[str, Arm] = {
    **{
        f"hpm:fusion={mode}": Arm(
            f"L_HPM, {mode}", "Eq. 5; Table IIIa", mined(fusion=mode), beta=0.1, paper=paper
        )
        for mode, paper in (("max", 49.69), ("product", 48.55))
    },
    **{
        f"hpm:cells={name}": Arm(
            f"L_HPM, {name} cells", "Eq. 5; Table IIIb", mined(cells=cells), beta=0.1, paper=paper
        )
        for name, cells, paper in (
            ("1x1", (1, 1), 49.63),
            ("16x16", (16, 16), 50.42),
            ("pixel", "pixel", 50.04),
        )
    },
    **{
        f"hpm:bin={size}": Arm(
            f"L_HPM, bins of {size}",
            "Eq. 5; Table IIIc",
            mined(bin_size=float(size)),
            beta=0.1,
            paper=paper,
        )
        for size, paper in ((1, 50.04), (50, 50.68), (100, 50.21))
    },
}

TABLE_IV: dict[str, Arm] = {
    "ohem": Arm(
        "L_s + L_d + OHEM",
        "Table IV: 1 where p < 0.7, in M's place",
        lambda setting: lwm.OHEMWeighting(0.7, _min_kept(setting), VOID),
        paper=47.25,
    ),
    "focal": Arm(
        "L_s + L_d + focal",
        "Table IV: (1 - p)^2, in M's place",
        lambda setting: lwm.FocalWeighting(2.0, VOID),
        paper=48.32,
    ),
    "lmp": Arm(
        "L_s + L_d + loss max-pooling",
        "Table IV: p = 1.7, ratio 0.3, in M's place",
        lambda setting: lwm.LossMaxPoolingWeighting(ignore_index=VOID),
        paper=47.46,
    ),
    "ohem-alone": Arm(
        "OHEM + L_d",
        "Table IV, in L_s's place",
        lambda setting: lwm.OHEMWeighting(0.7, _min_kept(setting), VOID),
        replaces=True,
        paper=47.25,
    ),
    "focal-alone": Arm(
        "focal + L_d",
        "Table IV, in L_s's place",
        lambda setting: lwm.FocalWeighting(2.0, VOID),
        replaces=True,
        paper=48.32,
    ),
    "lmp-alone": Arm(
        "loss max-pooling + L_d",
        "Table IV, in L_s's place",
        lambda setting: lwm.LossMaxPoolingWeighting(ignore_index=VOID),
        replaces=True,
        paper=47.46,
    ),
}

SWEEPS: dict[str, Arm] = {
    **{
        f"hpm:alpha={value:g}": Arm(
            f"L_HPM, alpha {value:g}", "Eq. 5; Fig. 7", mined(), alpha=value, beta=0.1
        )
        for value in (0.01, 0.1, 10.0, 100.0)
    },
    **{
        f"hpm:beta={value:g}": Arm(f"L_HPM, beta {value:g}", "Eq. 5; Fig. 7", mined(), beta=value)
        for value in (0.01, 1.0, 10.0, 100.0)
    },
}
