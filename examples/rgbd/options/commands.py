"""Options of the commands other than `train`, as typed dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from examples.rgbd.data.spec import DepthKind, Split
from examples.rgbd.options.groups import WORKERS, OptionError

Device = Annotated[str, tyro.conf.arg(metavar="auto|cpu|cuda[:N]")]


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` reads and writes."""

    source: Annotated[Path, tyro.conf.arg(metavar="SOURCE"), tyro.conf.Positional]
    """The data set as it lies on the disk: its folder, or NYUDv2's large .mat file."""
    destination: Annotated[Path, tyro.conf.arg(metavar="DESTINATION"), tyro.conf.Positional]
    """The plain folder to write."""
    layout: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """How the source is laid out; recognised by itself if it is not said."""
    depth: DepthKind = "inpainted"
    """Which depth to keep, where the source has both."""
    hha: bool = False
    """Also compute HHA (disparity, height, angle with gravity) of the depth: hha/NAME.png, which
    --input rgb-hha of train reads. Needs the camera's intrinsics."""
    normals: bool = False
    """Also compute surface normals of the depth: normals/NAME.png, which --normals of train learns
    from. Needs the camera's intrinsics."""
    workers: Annotated[int, tyro.conf.arg(metavar="PROCESSES")] = WORKERS
    """Processes that convert frames; 0 works in one."""


@dataclass(frozen=True)
class VerifyOptions:
    """What `verify` looks at."""

    data: Annotated[Path, tyro.conf.arg(metavar="DATA"), tyro.conf.Positional]
    """The data set, prepared or as it lies on the disk."""
    layout: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """How it is laid out; recognised by itself if it is not said."""
    depth: DepthKind = "inpainted"
    """Which depth to look at, where there are both."""
    subset: bool = False
    """The folder holds a part of the data set on purpose: its size is no problem then."""
    workers: Annotated[int, tyro.conf.arg(metavar="PROCESSES")] = WORKERS
    """Processes that read frames; 0 works in one."""


def check_workers(workers: int) -> None:
    """Raise `OptionError` if the number of processes cannot be used."""
    if workers < 0:
        raise OptionError(f"Expected `workers` of at least 0, but got {workers}.")


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and how."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, whose best weights are taken, or a checkpoint file."""
    data: Path | None = None
    """Folder of the data set; by default the one that the run was trained on."""
    layout: str | None = None
    """How the folder is laid out; recognised by itself if it is not said."""
    split: Split = "test"
    """Which split."""
    flip: bool = False
    """Also with the mirror image, averaged: a figure of its own."""
    multi_scale: bool = False
    """Also with several scales and their mirror images, averaged: a figure of its own."""
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    """The scales of --multi-scale."""
    crop: bool = False
    """Also without the white frame of NYUDv2's images: a figure of its own."""
    depth_from: Path | None = None
    """For a network that reads depth: a run that predicts depth from images, whose prediction is read
    in place of the measured depth (RDFNet PD of Table I)."""
    without_depth: bool = False
    """For rdfnet: its RGB half alone (RDFNet P of Table I, not trained any further)."""
    batch_size: int = 8
    """Images at a time."""
    workers: int = WORKERS
    """Processes that read frames."""
    device: Device = "auto"
    """auto takes the GPU if there is one."""
    output: Path | None = None
    """JSON file to write the figures to."""

    def check(self) -> None:
        """Raise `OptionError` at the first option that cannot be used."""
        if self.batch_size < 1 or self.workers < 0:
            raise OptionError(
                f"Expected --batch-size of at least 1 and --workers of at least 0, but got "
                f"{self.batch_size} and {self.workers}."
            )
        if self.depth_from is not None and self.without_depth:
            raise OptionError("Expected one of --depth-from and --without-depth, but got both.")
        if self.output is not None and self.output.is_dir():
            raise OptionError(
                f"Expected --output with a file such as {self.output / 'figures.json'}, but "
                f"{self.output} is a folder."
            )
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise OptionError(f"Expected --scales from 0.1 to 10, but got {self.scales}.")


@dataclass(frozen=True)
class PredictOptions:
    """What to predict, and where to write it."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, whose best weights are taken, or a checkpoint file."""
    images: tyro.conf.Positional[Path]
    """Folder of colour images (PNG, JPEG, BMP, WebP, TIFF ...) of any size, or one image."""
    output: Path = Path("predictions")
    """Folder to write to. For each image: NAME-labels.png, whose pixels are class numbers (their
    names are in classes.json), NAME-overlay.png to look at, with a legend, and NAME-depth.png in
    millimetres (coarser if far lies beyond 65 m; levels if the depth was relative).
    NAME includes the ending where two images differ in nothing else."""
    depth: Path | None = None
    """Folder of the depth of each image, for a network that reads it: PNG of the same name, 16 bits
    in millimetres, 0 where it is missing."""
    depth_from: Path | None = None
    """In place of --depth: a run that predicts depth from images, whose prediction is read (RDFNet PD
    of Table I)."""
    intrinsics: tuple[float, float, float, float] | None = None
    """fx fy cx cy of the camera in pixels of the images, for a network that reads HHA, which is
    computed from depth, read or predicted. The centre of the first pixel is 0."""
    flip: bool = False
    """Average with the mirror image."""
    device: Device = "auto"
    """auto takes the GPU if there is one."""


@dataclass(frozen=True)
class InitOptions:
    """What the files of a folder are. What is not said is found out, and told."""

    folder: Annotated[Path, tyro.conf.arg(metavar="DIR"), tyro.conf.Positional]
    """The folder to describe; dataset.json, train.txt and test.txt are written there."""
    images: str | None = None
    """Pattern of the colour images below DIR, such as 'rgb/*.png' or '**/*_rgb.jpg'."""
    labels: str | None = None
    """Pattern of the label maps: 8- or 16-bit PNG or TIFF, palette PNG, .npy."""
    depth: str | None = None
    """Pattern of the depth maps: 16-bit PNG, float TIFF, .npy. Without it nothing is mined."""
    preset: Literal["none", "nyud-mt", "nyu13", "scannet25k", "cityscapes", "mtan"] = "none"
    """A data set whose patterns and numbers are known; what else is said goes before."""
    name: str | None = None
    """Of the data set; by default that of the folder."""
    classes: Path | None = None
    """Text file with the name of a class in each line; otherwise they are named by number."""
    num_classes: int | None = None
    """Number of classes; by default as many as the labels need."""
    first_class: int | None = None
    """The number in the label maps that stands for class 0; by default the first that is no void."""
    void: tuple[int, ...] | None = None
    """Numbers in the label maps that stand for no class; 255 (or 65535) by default if it occurs."""
    depth_per_metre: float | None = None
    """Stored steps to a metre: 1000 for millimetres, 1 for metres."""
    missing: tuple[float, ...] = (0.0,)
    """Numbers in the depth maps that stand for no depth."""
    relative: bool = False
    """Depth has no unit: it rises with the distance, on a scale of each image's own."""
    inverse: bool = False
    """Depth falls with the distance, such as disparity; implies --relative."""
    near: float | None = None
    """Metres that become level 1; by default what nearly all depth lies beyond."""
    far: float | None = None
    """Metres that become level 256; by default what hardly any depth lies beyond."""
    test_share: float = 0.2
    """Share of the frames, or of the groups, that are tested on and never trained on."""
    test: str | None = None
    """Regular expression that the paths of the test images match, in place of a share."""
    group: str | None = None
    """Regular expression whose first group (or whole match) in an image's path names its scene or
    sequence; frames of one stay on one side of the split."""
    seed: int = 0
    """Of the choice of test frames."""
    overwrite: bool = False
    """Replace a dataset.json that is there."""


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and to where."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, whose best weights are taken, or a checkpoint file."""
    output: tyro.conf.Positional[Path]
    """File to write, such as net.onnx; net.pt2 with --torch."""
    torch: bool = False
    """Write a program of torch.export in place of ONNX."""
    outputs: Literal["scores", "labels"] = "scores"
    """scores: (B, C, H, W), at the image's size. labels: (B, H, W), their argmax."""
    preprocess: bool = True
    """The network takes RGB from 0 to 255, (B, 3, H, W) float; otherwise normalised images."""
    with_depth: bool = False
    """Also the predicted depth in metres, (B, H, W), as a second output."""
    opset: int = 18
    """Version of ONNX's operators."""
    fixed_size: bool = False
    """Only the image size of the run, for runtimes that cannot do with others; the batch stays free."""


@dataclass(frozen=True)
class EstimateDepthOptions:
    """Which images get depth, and from which model."""

    folder: Annotated[Path, tyro.conf.arg(metavar="DIR"), tyro.conf.Positional]
    """Folder with a dataset.json, whose lists then name the depth; or with images, with --images."""
    model: str
    """A depth-estimation model: its name on the Hugging Face hub, such as
    depth-anything/Depth-Anything-V2-Small-hf, or a folder."""
    images: str | None = None
    """Pattern of the images below DIR, where there is no dataset.json yet."""
    output: str = "depth_estimated"
    """Folder below DIR to write to."""
    predicts: Literal["inverse", "relative", "metres"] = "inverse"
    """What the model gives: inverse falls with the distance up to scale and offset (Depth Anything,
    MiDaS, DPT); relative rises with it; metres are metres (ZoeDepth, Depth Anything Metric)."""
    replace: bool = False
    """The lists name the estimated depth in place of what they name now; no file is removed."""
    device: Device = "auto"
    """auto takes the GPU if there is one."""
