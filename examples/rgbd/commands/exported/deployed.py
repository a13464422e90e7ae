"""A trained network in the form in which it is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.rgbd.data import IMAGENET_MEAN, IMAGENET_STD
from examples.rgbd.evaluation.predicted_depth import log_depth_in_metres
from examples.rgbd.networks import reads_depth, run_network
from examples.rgbd.networks.layers import upsample
from examples.rgbd.run.trained import Trained
from lwm_loss import MultiTaskOutput

Outputs = tuple[Tensor, ...]
Inputs = tuple[Tensor, ...]  # the image and, for a network that reads it, depth


class Deployed(nn.Module):
    """A network as it is deployed: RGB and what else it reads in; scores or labels, and metres, out.

    Args:
        trained: the network.
        outputs: "scores" (B, C, H, W) or "labels" (B, H, W), int64.
        preprocess: images are RGB from 0 to 255; otherwise normalised as in training.
        with_depth: also the depth, (B, H, W): metres, or levels where depth was relative.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, trained: Trained, outputs: str, *, preprocess: bool = True, with_depth: bool = False
    ) -> None:
        super().__init__()
        self.network = trained.network.eval()
        self.outputs = outputs
        self.preprocess = preprocess
        self.with_depth = with_depth
        self.limits = trained.limits
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, 255 * torch.tensor(values)[:, None, None], persistent=False)

    @property
    def input_names(self) -> list[str]:
        """What the inputs are called."""
        return ["image", "depth"] if reads_depth(self.network) else ["image"]

    def example(self, count: int, height: int, width: int) -> Inputs:
        """Smooth random inputs: images from 0 to 255 (or normalised), depth and HHA in their units."""
        channels = {"rgb": 0, "rgbd": 1}.get(getattr(self.network, "input", "rgb"), 4)
        generator = torch.Generator().manual_seed(height * width + count)
        coarse = torch.rand(count, 3 + channels, 8, 8, generator=generator)
        values = upsample(coarse, (height, width)).clamp(0, 1)
        image = 255 * values[:, :3]
        if not self.preprocess:
            image = (image - self.mean) / self.std
        if not channels:
            return (image,)
        metres, hha = 1 + 4 * values[:, 3:4], (255 * values[:, 4:]).round()
        return image, torch.cat([metres, hha], dim=1)

    @property
    def names(self) -> list[str]:
        """What the outputs are called; no output has the name of an input, which ONNX refuses."""
        if not self.with_depth:
            return [self.outputs]
        return [self.outputs, "predicted_depth" if reads_depth(self.network) else "depth"]

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Outputs:
        """Labels or scores, and depth, of images (B, 3, H, W) at their own size.

        A network that reads depth has it as a second input: (B, 1, H, W), metres, or (B, 4, H, W),
        metres and HHA.
        """
        shown = (image - self.mean) / self.std if self.preprocess else image
        output = MultiTaskOutput.of(run_network(self.network, shown, depth))
        scores = upsample(output.logits, image.shape[-2:])
        main = scores.argmax(1) if self.outputs == "labels" else scores
        if not self.with_depth or output.log_depth is None:
            return (main,)
        log_depth = upsample(output.log_depth[:, None], image.shape[-2:])[:, 0]
        return main, log_depth_in_metres(log_depth, self.limits)
