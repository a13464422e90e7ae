"""Which options cannot be used, and which would be without effect beside others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from examples.rgbd.objectives import ARMS, has_hard_term, measured
from examples.rgbd.options.groups import OUTLINES, OptionError, TrainConfig


def check(config: TrainConfig) -> None:
    """Raise `OptionError` at the first option that cannot be used."""
    _check_ranges(config)
    _check_combinations(config)
    _check_effects(config)


def _check_ranges(config: TrainConfig) -> None:
    data, objective, optimisation, run = (
        config.data, config.objective, config.optimisation, config.run,
    )  # fmt: skip
    at_least = {
        "epochs": (optimisation.epochs, 1),
        "batch-size": (optimisation.batch_size, 1),
        "accumulation": (optimisation.accumulation, 1),
        "patience": (optimisation.patience, 0),
        "workers": (data.workers, 0),
        "rooms": (data.rooms, 2),
        "test-rooms": (data.test_rooms, 1),
        "seed": (run.seed, 0),
        "checkpoint-every": (run.checkpoint_every, 0),
        "panels-every": (run.panels_every, 0),
        "panels": (run.panels, 0),
        "ohem-min-kept": (objective.ohem_min_kept, 0),
        "image-size": (min(data.image_size), 32),
        "curriculum-epochs": (1 if (set_ := objective.curriculum_epochs) is None else set_, 1),
        "alpha": (objective.alpha, 0),
        "beta": (objective.beta, 0),
        "lr": (optimisation.lr, 0),
        "encoder-lr-factor": (optimisation.encoder_lr_factor, 0),
        "momentum": (optimisation.momentum, 0),
        "weight-decay": (optimisation.weight_decay, 0),
        "clip-norm": (optimisation.clip_norm, 0),
    }
    for name, (value, least) in at_least.items():
        if not (math.isfinite(value) and value >= least):
            raise OptionError(f"Expected --{name} to be at least {least}, but got {value}.")
    if not objective.bin_size > 0:
        raise OptionError(f"Expected --bin-size to be above 0, but got {objective.bin_size}.")
    if not 0 <= data.holdout < 1:
        raise OptionError(f"Expected --holdout in [0, 1), but got {data.holdout}.")


def _check_combinations(config: TrainConfig) -> None:
    chosen = config.objective
    _ = chosen.grid
    height, width = config.data.image_size
    if chosen.mining == "ohem" and chosen.ohem_min_kept >= height * width:
        raise OptionError(
            f"Expected --ohem-min-kept below the {height * width} pixels of an image, for OHEM "
            f"to leave any out, but got {chosen.ohem_min_kept}."
        )
    if chosen.mining != "none" and chosen.objective not in ("s", "sd"):
        raise OptionError(
            f"Expected --mining {chosen.mining} with --objective s or sd, whose L_s it mines, "
            f"but got --objective {chosen.objective}."
        )
    if chosen.mining in OUTLINES and chosen.mining_place == "replace":
        raise OptionError(
            f"Expected --mining-place add with --mining {chosen.mining}, since all other pixels would "
            "not be learnt, but got replace."
        )
    if chosen.mining_place == "add" and chosen.objective == "s":
        raise OptionError("Expected --objective sd with --mining-place add, but got s.")
    if chosen.control != "none" and ARMS[chosen.objective].mined is None:
        raise OptionError(
            f"Expected --control {chosen.control} with an objective that has L_h (sd+r, sd+z, "
            f"sd+rz, hpm, full), but got --objective {chosen.objective}."
        )


# --- options without effect ---------------------------------------------------------------------


class _Dependent(NamedTuple):
    """Options of one group that do something only where a condition holds."""

    group: str
    options: tuple[str, ...]
    condition: Callable[[TrainConfig], bool]
    needs: str


_DEPENDENT = (
    _Dependent(
        "objective", ("fusion",), lambda c: measured(c.objective) == "both",
        "an objective that fuses R and Z (sd+rz, sd+cl, hpm, full)",
    ),
    _Dependent(
        "objective", ("cells", "bin_size", "error"), lambda c: measured(c.objective) in ("dse", "both"),
        "an objective that measures Z (sd+z, sd+rz, sd+cl, hpm, full)",
    ),
    _Dependent(
        "objective", ("alpha",), lambda c: has_hard_term(c.objective),
        "an objective that has L_h (sd+r, sd+z, sd+rz, hpm, full), or --mining-place add",
    ),
    _Dependent(
        "objective", ("beta",), lambda c: ARMS[c.objective.objective].sides,
        "an objective that has side outputs (sd+ms, hpm, full)",
    ),
    _Dependent(
        "objective", ("curriculum_epochs",), lambda c: ARMS[c.objective.objective].curriculum,
        "an objective that has the curriculum (sd+cl, full)",
    ),
    _Dependent(
        "objective", ("mining_place",), lambda c: c.objective.mining != "none",
        "--mining ohem, focal, lmp, depth-edges or label-boundaries",
    ),
    _Dependent(
        "objective", ("ohem_threshold",), lambda c: c.objective.mining == "ohem", "--mining ohem"
    ),
    _Dependent(
        "objective", ("focal_gamma",), lambda c: c.objective.mining == "focal", "--mining focal"
    ),
    _Dependent(
        "objective", ("lmp_ratio", "lmp_p"), lambda c: c.objective.mining == "lmp", "--mining lmp"
    ),
    _Dependent(
        "objective", ("edge_threshold", "edge_boundaries_only"),
        lambda c: c.objective.mining == "depth-edges", "--mining depth-edges",
    ),
    _Dependent(
        "objective", ("edge_radius",), lambda c: c.objective.mining in OUTLINES,
        "--mining depth-edges or label-boundaries",
    ),
    _Dependent(
        "optimisation", ("momentum",), lambda c: c.optimisation.optimizer == "sgd",
        "--optimizer sgd",
    ),
    _Dependent(
        "network", ("fold_norm",), lambda c: c.network.pretrained is not None,
        "--pretrained, whose batch norm knows its statistics",
    ),
    _Dependent("data", ("layout", "depth"), lambda c: c.data.data is not None, "--data"),
    _Dependent(
        "data", ("world", "rooms", "test_rooms"), lambda c: c.data.data is None,
        "generated rooms, which is without --data",
    ),
)  # fmt: skip


def _check_effects(config: TrainConfig) -> None:
    """An option that was changed for nothing is most likely a mistake, and costs a whole run."""
    usual = TrainConfig()
    for dependent in _DEPENDENT:
        if dependent.condition(config):
            continue
        for option in dependent.options:
            value = getattr(getattr(config, dependent.group), option)
            if value != getattr(getattr(usual, dependent.group), option):
                raise OptionError(
                    f"Expected --{option.replace('_', '-')} with {dependent.needs}, but got "
                    f"{value} where it would be without effect."
                )
