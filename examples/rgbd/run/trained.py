"""A trained network, from the folder of a run or a checkpoint file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.rgbd.data.geometry import GeometryKind
from examples.rgbd.data.spec import DepthUse
from examples.rgbd.model import build_model, geometry_of
from examples.rgbd.networks import RDFNet, reads_depth
from examples.rgbd.objectives import ARMS
from examples.rgbd.options.as_json import from_plain
from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.run.checkpoint import BEST, LATEST, CheckpointError, load_checkpoint


@dataclass(frozen=True)
class Trained:
    """A network and what it was trained on.

    Attributes:
        network: in evaluation mode, on the CPU.
        config: the options of its run.
        name: of the data set: "nyudv2", "sunrgbd" or "rooms".
        classes: class names.
        palette: uint8 (C, 3).
        limits: (near, far) in metres.
        epoch: epochs that the weights have seen.
        path: of the checkpoint.
        metric: whether its depth is in metres.
    """

    network: nn.Module
    config: TrainConfig
    name: str
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    limits: tuple[float, float]
    epoch: int
    path: Path
    metric: bool = True

    @property
    def geometry(self) -> tuple[GeometryKind, ...]:
        """The maps of depth that the network reads."""
        return geometry_of(self.config.network)

    @property
    def predicts_depth(self) -> bool:
        """Whether it was trained with a depth branch."""
        return ARMS[self.config.objective.objective].depth

    @property
    def use_of_depth(self) -> DepthUse:
        """What depth is wanted for in an evaluation: at most for a figure of its own."""
        if reads_depth(self.network):
            return "required"
        return "optional" if self.predicts_depth else "none"


def checkpoint_of(path: Path) -> Path:
    """A checkpoint that is named by the folder of its run: the best one, or else the last."""
    if not path.is_dir():
        return path
    return next((file for name in (BEST, LATEST) if (file := path / name).exists()), path / BEST)


def load_weights(path: Path) -> tuple[Path, dict[str, Tensor]]:
    """The checkpoint of a run and the weights in it.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    path = checkpoint_of(path)
    weights: dict[str, Tensor] = load_checkpoint(path)["network"]
    return path, weights


def load_trained(path: Path) -> Trained:
    """The best weights of a run, the last ones if there are no best ones yet, or a given file.

    Args:
        path: folder of a run, or a checkpoint in it.

    Raises:
        CheckpointError: there is none, or it cannot be read.
        OptionError: its options are not those of this version.
    """
    path = checkpoint_of(path)
    state = load_checkpoint(path)
    config = from_plain(TrainConfig, json.loads(state["config"]))
    dataset = state["dataset"]
    classes = tuple(dataset["classes"])
    network = build_model(config.network, config.objective, len(classes), load_pretrained=False)
    try:
        network.load_state_dict(state["network"])
    except RuntimeError:
        raise CheckpointError(
            f"Expected weights that fit the options stored with them in {path}, but they do not: "
            "was it written by another version?"
        ) from None
    return Trained(
        network=network.eval(),
        config=config,
        name=dataset["name"],
        classes=classes,
        palette=dataset["palette"].numpy(),
        limits=(dataset["near"], dataset["far"]),
        epoch=state["epoch"],
        path=path,
        metric=dataset.get("metric", True),
    )


def check_runs_without_depth(trained: Trained, option: str) -> None:
    """See that a network that reads depth can do without it.

    Raises:
        OptionError: it cannot.
    """
    # RDFNet's RGB half is a whole network: the form "P" of Table I.
    if reads_depth(trained.network) and not isinstance(trained.network, RDFNet):
        raise OptionError(
            f"Expected {option} for {trained.path}, whose network "
            f"{type(trained.network).__name__} reads depth, but got none."
        )
