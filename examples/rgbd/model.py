"""The network that an objective needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from examples.rgbd.data.geometry import GeometryKind
from examples.rgbd.networks import InputKind, build_network, freezes_norm, kind_of
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
    if options.normals and "predict_normals" not in kind.options:
        raise OptionError(
            f"Expected --normals with --network pap, but got it with {options.network}, which predicts "
            "none."
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
            zero_residual=options.zero_residual,
            width=options.width,
            num_sides=sides if "num_sides" in kind.options else None,
            predict_depth=arm.depth,
            depth_bound=options.depth_bound,
            dropout=options.dropout,
            initialisation=options.initialisation,
            sum_features=options.sum_features,
            input=input_of(options),
            predict_normals=options.normals or None,
        )
    except (TypeError, ValueError) as error:
        raise OptionError(str(error)) from error


def input_of(options: NetworkOptions) -> InputKind:
    """What the network reads: depth where it was published with depth or HHA, unless said."""
    kind = kind_of(options.network, options.backbone)
    return options.input or ("rgb" if kind.input == "rgb" else "rgbd")


def geometry_of(options: NetworkOptions, *, training: bool = False) -> tuple[GeometryKind, ...]:
    """The maps of depth that a network reads or, in training, learns from."""
    reads: tuple[GeometryKind, ...] = ("hha",) if input_of(options) == "rgb-hha" else ()
    return (*reads, "normals") if options.normals and training else reads


def load_weights_of(network: nn.Module, weights: Mapping[str, Tensor], source: Path) -> list[str]:
    """Fill a network from the weights of another one of its kind.

    An RGB-D network's ``encoder.rgb`` is the ``encoder`` of the one that reads images alone, and the
    depth half has no place in it: so the form P of RDFNet comes from the form D.

    Args:
        network: to be filled, in place.
        weights: the other's ``state_dict``.
        source: where they come from, for the message.

    Returns:
        Names of the weights that have no place.

    Raises:
        OptionError: the network has weights that the other has not, or in another shape.
    """
    own = network.state_dict()
    found = dict(weights)
    if not any(key.startswith("encoder.rgb.") for key in own):
        found = {key.replace("encoder.rgb.", "encoder.", 1): each for key, each in found.items()}
    for key, each in own.items():
        shape = tuple(found[key].shape) if key in found else None
        if shape != tuple(each.shape):
            raise OptionError(
                f"Expected {key} of shape {tuple(each.shape)} in {source}, but got "
                f"{'none' if shape is None else shape}: has it the same --network, --backbone, --width "
                "and classes, and both an objective with depth or neither?"
            )
    network.load_state_dict({key: found[key] for key in own})
    return sorted(found.keys() - own.keys())
