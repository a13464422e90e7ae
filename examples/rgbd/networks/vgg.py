"""VGG (Simonyan & Zisserman, ICLR 2015) without batch norm, fully convolutional."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.encoder import FourMaps
from examples.rgbd.networks.weights import is_weights_file, load_weights_file


class VGGArchitecture(NamedTuple):
    """Convolutions and channels of the five blocks."""

    depths: tuple[int, int, int, int, int]
    channels: tuple[int, int, int, int, int]


CHANNELS = (64, 128, 256, 512, 512)
VGGS = {
    "vgg11": VGGArchitecture((1, 1, 2, 2, 2), CHANNELS),
    "vgg16": VGGArchitecture((2, 2, 3, 3, 3), CHANNELS),
}
TORCHVISION = {
    "vgg11": "https://download.pytorch.org/models/vgg11-8a719046.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
}


class FullyConnected(NamedTuple):
    """The first two fully connected layers of VGG, as convolutions.

    Attributes:
        width: channels of both; 4096 in VGG, 1024 in DeepLab.
        kernel_size: of the first; 7 in VGG, 3 in DeepLab.
        dilation: of the first; 1 in VGG, 12 in DeepLab-LargeFOV.
    """

    width: int = 4096
    kernel_size: int = 7
    dilation: int = 1


LARGE_FOV = FullyConnected(1024, 3, 12)


class VGGEncoder(nn.Module):
    """The convolutions of VGG, in five blocks, and its fully connected layers if they are asked for.

    The random initialisation is that of torchvision's VGG: He's, by the outputs (He et al., ICCV
    2015, derived for this family of networks; the N(0, 0.01) of the first version of the VGG paper
    does not train 16 layers from scratch, as that paper says), and zero biases.

    Args:
        name: a key of ``VGGS``.
        pretrained: ``"torchvision"`` downloads the ImageNet weights that torchvision publishes; or
            a ``.pth`` or ``.safetensors`` file of them (with keys such as ``features.0.weight``).
            ``None`` starts from random ones.
        output_stride: 32, or 8 as in DeepLab: the last two pools keep the size and the last block is
            dilated by 2.
        pool_size: window of the pools: 2 as in VGG, 3 as in DeepLab.
        fully_connected: shape of ``fc6`` and ``fc7``. Pre-trained weights fill them where the shape
            is that of VGG.

    Raises:
        ValueError: an unknown name or output stride; weights that cannot be loaded or do not fit.
    """

    def __init__(
        self,
        name: str = "vgg16",
        *,
        pretrained: str | None = None,
        output_stride: int = 32,
        pool_size: int = 2,
        fully_connected: FullyConnected | None = None,
    ) -> None:
        super().__init__()
        if name not in VGGS:
            raise ValueError(f"Expected an encoder among {', '.join(VGGS)}, but got {name!r}.")
        if output_stride not in (8, 32):
            raise ValueError(f"Expected `output_stride` to be 8 or 32, but got {output_stride}.")
        self.output_stride = output_stride
        self.pool_size = pool_size
        depths, channels = VGGS[name]
        self.channels = channels[1:]
        dilation = 2 if output_stride == 8 else 1
        self.blocks = nn.ModuleList()
        before = 3
        for index, (count, outputs) in enumerate(zip(depths, channels, strict=True)):
            reach = dilation if index == 4 else 1
            self.blocks.append(
                nn.ModuleList(
                    nn.Conv2d(inputs, outputs, 3, padding=reach, dilation=reach)
                    for inputs in (before, *[outputs] * (count - 1))
                )
            )
            before = outputs
        self.out_channels = before
        if fully_connected is not None:
            self.out_channels, size, dilation = fully_connected
            padding = dilation * (size // 2)
            self.fc6 = nn.Conv2d(
                before, self.out_channels, size, padding=padding, dilation=dilation
            )
            self.fc7 = nn.Conv2d(self.out_channels, self.out_channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if pretrained is not None:
            # Without layers of VGG's own shape only the convolutions are in the file.
            whole = hasattr(self, "fc6") and self.fc6.weight.shape == (4096, 512, 7, 7)
            names = self._names()
            if whole:
                names = {there: f"blocks.{here}" for there, here in names.items()}
                names |= {"classifier.0": "fc6", "classifier.3": "fc7"}
            load_weights_file(
                self if whole else self.blocks,
                _weights_path(name, pretrained),
                names,
                network=name,
                known_surplus=("classifier.",),
            )

    def pool(self, feature: Tensor, index: int) -> Tensor:
        """Max-pool what block ``index`` returns. Sizes are rounded up, as in Caffe."""
        stride = 1 if index >= 3 and self.output_stride == 8 else 2
        if self.pool_size == 2 and stride == 2:
            return F.max_pool2d(feature, 2, ceil_mode=True)
        return F.max_pool2d(feature, 3, stride, padding=1)

    def forward(self, image: Tensor) -> FourMaps:
        """Return the maps after the last four pools, of ``image`` (B, 3, H, W), finest first."""
        feature, maps = image, []
        for index, block in enumerate(self.blocks):
            for convolution in block:  # type: ignore[attr-defined]
                feature = F.relu(convolution(feature))
            feature = self.pool(feature, index)
            maps.append(feature)
        first, second, third, fourth = maps[1:]
        return first, second, third, fourth

    def fully_connected(self, feature: Tensor, dropout: nn.Module) -> Tensor:
        """Run ``fc6`` and ``fc7``, each with a ReLU and ``dropout``, on the last map."""
        feature = dropout(self.fc6(feature).relu())
        dropped: Tensor = dropout(self.fc7(feature).relu())
        return dropped

    def _names(self) -> dict[str, str]:
        """Torchvision's names of the convolutions, where ReLUs and pools count, and those here."""
        names, position = {}, 0
        for index, block in enumerate(self.blocks):
            for number in range(len(block)):  # type: ignore[arg-type]
                names[f"features.{position}"] = f"{index}.{number}"
                position += 2
            position += 1
        return names


def with_fully_connected(encoder: nn.Module, others: str = "") -> VGGEncoder:
    """An encoder that has ``fc6`` and ``fc7``.

    Args:
        encoder: to look at.
        others: what would fit as well, for the message.

    Raises:
        TypeError: it has none.
    """
    if isinstance(encoder, VGGEncoder) and hasattr(encoder, "fc7"):
        return encoder
    raise TypeError(
        f"Expected `encoder` to be {others}a VGGEncoder with `fully_connected` layers, but got "
        f"{type(encoder).__name__}."
    )


def _weights_path(name: str, source: str) -> Path:
    """Where the weights lie: a file, or what torchvision publishes, downloaded once."""
    if is_weights_file(source):
        return Path(source)
    if source != "torchvision":
        raise ValueError(
            f"Expected `pretrained` of a {name} to be 'torchvision' or a file ending in .pth or "
            f".safetensors, but got {source!r}."
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / TORCHVISION[name].rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(
                TORCHVISION[name], str(path), path.stem.rpartition("-")[2], progress=False
            )
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"Expected the weights of {name} at {TORCHVISION[name]}, but they cannot be "
                f"downloaded: {error}. Did you mean a file that you have?"
            ) from error
    return path
