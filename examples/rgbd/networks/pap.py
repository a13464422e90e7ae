"""After PAP (Zhang et al., CVPR 2019): tasks exchange which pixels are alike, then diffuse by it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image, check_norm_can_learn, check_positive
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.layers import Bottleneck, upsample
from lwm_loss import MultiTaskOutput


class PAP(DenseNetwork):
    r"""Pattern-affinitive propagation between segmentation, depth and surface normals.

    No code was released. What follows the publication: a shared encoder; a branch for each task with an
    initial prediction; for each task the affinity of its features, rows summing to 1; for each task its
    own learnt convex combination of all affinities; diffusion by it, :math:`h \leftarrow \beta \hat M h
    + (1 - \beta) h_0`; a reconstruction and a final prediction. From a reader's re-implementation
    (Armanfard-Lab/CTAL on GitHub): two bottlenecks a branch, 128 channels for the diffusion.

    Decisions: bottlenecks begin as their shortcut alone; the affinity is a softmax over the dot
    products of features of unit length (the re-implementation normalises over positions, and its rows
    do not sum to 1); it is computed at ``affinity_stride`` of the image, for its memory grows with the
    fourth power of the resolution (at 480 x 640 in float32 92 MB a task at 1/8, 1.47 GB at 1/4); beta
    is learnt from 0.5; the initial predictions of depth and normals serve as features of the
    reconstruction, and are not supervised. The branch of normals is left out by default, as it needs
    targets: ``examples.rgbd.data.normals`` computes them from depth. The form of their loss, the mean
    of 1 - cosine, and its weight, 1, are decisions too, and the publication's loss on pairs of pixels
    is left out: neither is known to us.

    Args:
        encoder: any module of the form ``FourScaleEncoder``; the publication has a ResNet-50.
        num_classes: channels of the logits.
        width: channels of a branch; a half of them diffuse.
        affinity_stride: 4, 8, 16 or 32.
        iterations: steps of diffusion.
        temperature: divides the dot products in the softmax.
        depth: the predicted log-depth; without ``predict_depth`` there is no depth branch.
        predict_normals: whether there is a branch of normals.
    """

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        width: int = 256,
        affinity_stride: int = 8,
        iterations: int = 1,
        temperature: float = 0.1,
        depth: DepthOutput = LOG_DEPTH,
        predict_normals: bool = False,
    ) -> None:
        super().__init__(encoder, num_classes, depth)
        check_positive(width=width, iterations=iterations)
        if affinity_stride not in (4, 8, 16, 32):
            raise ValueError(
                f"Expected `affinity_stride` to be 4, 8, 16 or 32, but got {affinity_stride}."
            )
        self.level = (4, 8, 16, 32).index(affinity_stride)
        self.iterations = iterations
        self.temperature = temperature
        self.predict_normals = predict_normals
        outputs = {"segmentation": num_classes}
        outputs |= {"depth": 1} if depth.predict_depth else {}
        outputs |= {"normals": 3} if predict_normals else {}
        reduced = max(width // 4, 1)
        self.reduce = nn.ModuleList(nn.Conv2d(count, reduced, 1) for count in encoder.channels)
        self.branches = nn.ModuleDict(
            {task: TaskBranch(4 * reduced, width, count) for task, count in outputs.items()}
        )
        # One row of logits a task: a softmax makes them the convex combination of all affinities.
        self.combination = nn.Parameter(torch.zeros(len(outputs), len(outputs)))
        self.mixing = nn.Parameter(torch.zeros(len(outputs)))
        self.segmentation_head = nn.Conv2d(max(width // 2, 1), num_classes, 1)
        if depth.predict_depth:
            self.depth_head = LogDepthHead(max(width // 2, 1), depth)
        if predict_normals:
            self.normal_head = nn.Conv2d(max(width // 2, 1), 3, 1)

    def forward(self, image: Tensor) -> MultiTaskOutput | dict[str, Any]:
        """Predict labels and log-depth, and normals if there is a branch of them.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.

        Returns:
            ``logits`` (B, num_classes, H, W) and ``log_depth`` (B, H, W) or ``None``. With
            ``predict_normals`` a mapping of these and ``normals`` (B, 3, H, W), unit vectors away
            from the camera; ``MultiTaskOutput.of`` reads it.
        """
        features = self._features(image)
        size = size_of(image)
        output = MultiTaskOutput(
            upsample(self.segmentation_head(features["segmentation"]), size),
            self.depth_head(features["depth"], size) if self.predict_depth else None,
        )
        if not self.predict_normals:
            return output
        normals = F.normalize(upsample(self.normal_head(features["normals"]), size), dim=1)
        return {**output._asdict(), "normals": normals}

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        check_image(image)
        maps = self.encoder(image)
        if self.training:
            check_norm_can_learn(maps[-1])
        size = size_of(maps[self.level])
        shared = torch.cat(
            [
                upsample(reduce(feature), size)
                for reduce, feature in zip(self.reduce, maps, strict=True)
            ],
            dim=1,
        )
        states = [branch(shared) for branch in self.branches.values()]
        affinities = [affinity(state, self.temperature) for state in states]
        shares = self.combination.softmax(1)
        features = {}
        for index, task in enumerate(self.branches):
            branch: Any = self.branches[task]
            combined = sum(
                share * each for share, each in zip(shares[index], affinities, strict=True)
            )
            beta = self.mixing[index].sigmoid()
            diffused = diffuse(states[index], combined, beta, self.iterations)
            features[task] = branch.reconstruct(diffused)
        return features


class TaskBranch(nn.Module):
    """The network of one task before and after the propagation."""

    def __init__(self, in_channels: int, width: int, outputs: int) -> None:
        super().__init__()
        half = max(width // 2, 1)
        self.blocks = nn.Sequential(Bottleneck(in_channels, width), Bottleneck(width, width))
        self.initial = nn.Conv2d(width, outputs, 1)
        self.reduce = nn.Conv2d(width + outputs, half, 1)
        self.reconstruct = nn.Sequential(Bottleneck(half, half), Bottleneck(half, half))

    def forward(self, shared: Tensor) -> Tensor:
        """Map the shared features to the state (B, width / 2, h, w) that is diffused."""
        feature = self.blocks(shared)
        state: Tensor = self.reduce(torch.cat([feature, self.initial(feature)], 1))
        return state


def affinity(feature: Tensor, temperature: float = 0.1) -> Tensor:
    """How alike any two pixels are: (B, C, h, w) to (B, h w, h w), non-negative, rows sum to 1."""
    flat = F.normalize(feature.flatten(2), dim=1)
    similarity = flat.transpose(1, 2) @ flat
    return (similarity / temperature).softmax(-1)


def diffuse(feature: Tensor, affinities: Tensor, beta: Tensor, iterations: int) -> Tensor:
    """Repeat h <- beta M h + (1 - beta) h_0 for (B, C, h, w) and M (B, h w, h w)."""
    start = state = feature.flatten(2).transpose(1, 2)
    for _ in range(iterations):
        state = beta * (affinities @ state) + (1 - beta) * start
    return state.transpose(1, 2).reshape(feature.shape)
