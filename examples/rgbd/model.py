"""The network that an objective needs."""

from __future__ import annotations

from torch import nn

from examples.rgbd.networks import build_network, freezes_norm, kind_of
from examples.rgbd.objectives import ARMS, NUM_SIDES
from examples.rgbd.options.groups import NetworkOptions, ObjectiveOptions, OptionError


def build_model(
    options: NetworkOptions,
    objective: ObjectiveOptions,
    num_classes: int,
    *,
    load_pretrained: bool = True,
) -> nn.Module:
    """The network, with depth branch and side outputs only where the objective has such terms.

    Args:
        options: which network.
        objective: what it is trained by.
        num_classes: C.
        load_pretrained: False leaves the encoder at random weights, for a checkpoint to fill.

    Raises:
        OptionError: an unknown name, an option that the network does not have, an objective that
            it cannot serve, or weights that cannot be loaded.
    """
    arm = ARMS[objective.objective]
    kind = kind_of(options.network, options.backbone)
    sides = NUM_SIDES if arm.sides else 0
    if sides and "num_sides" not in kind.options:
        raise OptionError(
            f"Expected an objective without side outputs for --network {options.network}, which "
            f"has none, but got --objective {objective.objective}: did you mean sd+rz?"
        )
    frozen = options.freeze_norm
    try:
        if frozen is None and options.pretrained is not None and freezes_norm(options.backbone):
            frozen = True  # also where the weights come from a checkpoint
        return build_network(
            options.network,
            options.backbone,
            num_classes=num_classes,
            pretrained=options.pretrained if load_pretrained else None,
            freeze_norm=frozen,
            fold_norm=options.fold_norm,
            output_stride=options.output_stride,
            width=options.width,
            num_sides=sides if "num_sides" in kind.options else None,
            predict_depth=arm.depth,
            depth_bound=options.depth_bound,
            dropout=options.dropout,
            initialisation=options.initialisation,
            sum_features=options.sum_features,
            input=options.input or ("rgb" if kind.input == "rgb" else "rgbd"),
        )
    except (TypeError, ValueError) as error:
        raise OptionError(str(error)) from error
