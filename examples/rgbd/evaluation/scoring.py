"""Running a network over a split, and what it scores there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

import lwm_loss.functional as LF
from examples.rgbd.class_weights import weight_of_labels
from examples.rgbd.data import VOID, FrameTensors, Resized, RGBDDataset
from examples.rgbd.data.loading import Ragged, batches, collate_ragged, loader
from examples.rgbd.evaluation.metrics import (
    ImageScores,
    Scores,
    SplitMetrics,
    image_scores,
    majority_scores,
    scores_of,
)
from examples.rgbd.networks import run_network, second_input
from examples.rgbd.networks.layers import upsample
from examples.rgbd.options.groups import OptionError
from examples.rgbd.pipeline import Crop
from examples.rgbd.progress import progress_bar
from lwm_loss import MultiTaskOutput


@dataclass(frozen=True)
class View:
    """How an image is shown to the network at test time.

    Attributes:
        scales: multiples of the image size; the probabilities of all are averaged.
        flip: also show the mirror image.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


SINGLE_SCALE = View()


def outside_of(crop: Crop, label: Tensor) -> Tensor:
    """Where a label map (H, W) does not count, bool.

    Raises:
        OptionError: it has another size.
    """
    if tuple(label.shape) != crop.size:
        raise OptionError(
            f"Expected label maps of {crop.size[0]} x {crop.size[1]} for --crop, but got "
            f"{label.shape[0]} x {label.shape[1]}: is this a shrunk copy?"
        )
    mask = torch.ones_like(label, dtype=torch.bool)
    mask[crop.rows, crop.columns] = False
    return mask


@dataclass(frozen=True)
class Evaluation:
    """What a network scores on a split.

    Attributes:
        scores: of the predicted labels, at each label map's own size.
        of_images: means over images of the same.
        baseline: of calling everything by the most frequent class.
        loss: cross-entropy, mean over the labelled pixels (L_s); with class weights as torch has it.
        log_depth_rmse: root mean squared error of log-depth; NaN without a depth branch.
        images: number of images.
    """

    scores: Scores
    of_images: ImageScores
    baseline: Scores
    loss: float
    log_depth_rmse: float
    images: int


def predict(
    network: nn.Module,
    images: Tensor,
    view: View = SINGLE_SCALE,
    depth: Tensor | None = None,
) -> MultiTaskOutput:
    """Scores and log-depth of a batch, (B, C, H, W) and (B, H, W).

    A network that reads depth is given ``depth`` too, (B, K, h, w) as ``second_input`` has it, brought
    to the size of the image.

    With more than one view the scores are the logarithm of the mean probability; the log-depth is
    always that of the plain image.
    """
    if depth is not None:
        depth = nearest(depth, images.shape[-2:])
    plain = MultiTaskOutput.of(run_network(network, images, depth))
    if view == SINGLE_SCALE:
        return plain
    size = images.shape[-2:]
    total = torch.zeros_like(plain.logits, dtype=torch.float32)
    for scale in view.scales:
        # The nearest multiple of 32, the stride of the coarsest map.
        scaled = [max(round(side * scale / 32), 1) * 32 for side in size]
        shown = (
            images if scale == 1 else F.interpolate(images, scaled, mode="bilinear", antialias=True)
        )
        zoomed = None if depth is None else _zoomed(nearest(depth, scaled), scale)
        for flipped in (False, True) if view.flip else (False,):
            seen = shown.flip(-1) if flipped else shown
            beside = zoomed.flip(-1) if flipped and zoomed is not None else zoomed
            whole = scale == 1 and not flipped
            logits = (
                plain.logits
                if whole
                else MultiTaskOutput.of(run_network(network, seen, beside)).logits
            )
            logits = logits.flip(-1) if flipped else logits
            total += upsample(logits.float(), size).softmax(1)
    # Below float32's least normal number a logarithm is -inf, and interpolation makes NaN of it.
    mean = (total / total.sum(1, keepdim=True)).clamp(min=torch.finfo(total.dtype).tiny)
    return plain._replace(logits=mean.log())


def _zoomed(depth: Tensor, scale: float) -> Tensor:
    """A larger image is a closer view: metres are divided, HHA stays, here as in training."""
    return torch.cat([depth[:, :1] / scale, depth[:, 1:]], dim=1)


def nearest(depth: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest neighbours of (B, K, h, w) at `size`: between two depths there is nothing."""
    if tuple(depth.shape[-2:]) == tuple(size):
        return depth
    return F.interpolate(depth, tuple(size), mode="nearest-exact")


def depth_of_frame(
    network: nn.Module, frame: FrameTensors, device: torch.device | str = "cpu"
) -> Tensor | None:
    """What a network reads beside the image of a frame, (1, K, h, w); see ``second_input``."""
    maps = {kind: each[None].to(device) for kind, each in frame.geometry.items()}
    return second_input(network, frame.depth[None].to(device), maps)


@torch.no_grad()
def evaluate(
    network: nn.Module,
    dataset: RGBDDataset | Dataset[object],
    *,
    num_classes: int,
    image_size: tuple[int, int],
    limits: tuple[float, float],
    accelerator: Accelerator,
    batch_size: int = 8,
    workers: int = 0,
    view: View = SINGLE_SCALE,
    crop: Crop | None = None,
    class_weight: Tensor | None = None,
    depth_of: Callable[[Tensor], Tensor | None] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Run a network over a split, divided among the processes, and score it as one.

    Images are brought to `image_size`; the scores go back to the size of each label map.

    Args:
        network: not wrapped for training.
        dataset: the split.
        num_classes: C.
        image_size: (height, width) that the network sees.
        limits: (near, far) in metres, as in training.
        accelerator: where to run.
        batch_size: images at a time.
        workers: processes that read.
        view: flip and scales.
        crop: the part of each label map that counts.
        class_weight: (C,), of the loss.
        depth_of: what a network that reads depth is given in place of the frames' own, from the
            images (B, 3, H, W): see ``second_input``.
        progress: show a bar.
    """
    was_training = network.training
    network.eval()
    device = accelerator.device
    length = len(dataset)  # type: ignore[arg-type]
    mine = Subset(dataset, range(accelerator.process_index, length, accelerator.num_processes))
    source = loader(
        Resized(mine, image_size, resize_target=False),  # type: ignore[arg-type]
        workers=workers,
        pin=device.type == "cuda",
        batch_size=batch_size,
        collate_fn=collate_ragged,
    )
    weight = None if class_weight is None else class_weight.to(device)
    metrics = SplitMetrics(num_classes, device)
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    frames: Iterable[Ragged] = batches(source)
    bar = progress_bar(frames, "evaluating", total=len(source), unit="batch", disable=not progress)
    for ragged in bar:
        images = ragged.images().to(device, non_blocking=True)
        if depth_of is not None:
            beside = depth_of(images)
        else:
            found = [depth_of_frame(network, frame) for frame in ragged]
            shown = [nearest(each, image_size) for each in found if each is not None]
            beside = torch.cat(shown).to(device, non_blocking=True) if shown else None
        output = predict(network, images, view, beside)
        for index, frame in enumerate(ragged):
            label = frame.label.to(device, non_blocking=True)
            depth = frame.depth.to(device, non_blocking=True)
            if crop is not None:
                outside = outside_of(crop, label)
                label = label.masked_fill(outside, VOID)
                depth = depth.masked_fill(outside, 0)
            logits = upsample(output.logits[index, None].float(), label.shape)
            metrics.update(logits.argmax(1)[0], label)
            loss = F.cross_entropy(logits, label[None], weight, ignore_index=VOID, reduction="sum")
            sums[0] += loss
            sums[1] += weight_of_labels(label, weight)
            if output.log_depth is not None:
                log_depth = upsample(output.log_depth[index, None, None].float(), label.shape)[:, 0]
                levels = LF.rescale_depth(depth, *limits)[None]
                sums[2] += LF.log_depth_mse_loss(log_depth, levels, reduction="sum")
                sums[3] += (levels > 0).sum()
    network.train(was_training)
    totals = accelerator.reduce(sums, "sum").tolist()
    counts, of_images = accelerator.reduce((metrics.counts, metrics.of_images), "sum")
    return Evaluation(
        scores=scores_of(counts),
        of_images=image_scores(of_images),
        baseline=majority_scores(counts),
        loss=totals[0] / totals[1] if totals[1] else float("nan"),
        log_depth_rmse=(totals[2] / totals[3]) ** 0.5 if totals[3] else float("nan"),
        images=length,
    )
