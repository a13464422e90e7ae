"""Encoders: from an image to four feature maps, at 1/4, 1/8, 1/16 and 1/32 of its size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import ConvNextConfig, ConvNextModel, ResNetBackbone, ResNetConfig
from transformers.models.convnext.modeling_convnext import ConvNextLayerNorm

from examples.rgbd.networks.norm import NormEncoder
from examples.rgbd.networks.weights import (
    NAMED,
    is_weights_file,
    load_weights_file,
    names_of_parts,
)
from examples.rgbd.reason import reason_of

STAGES = ["stage1", "stage2", "stage3", "stage4"]

ALL_LEVELS = (0, 1, 2, 3)

FourMaps = tuple[Tensor, Tensor, Tensor, Tensor]


@runtime_checkable
class FourScaleEncoder(Protocol):
    """What a decoder needs of an encoder. Any ``nn.Module`` of this form can be plugged in.

    Attributes:
        channels: channels of the four maps, finest first.
    """

    channels: tuple[int, int, int, int]

    def __call__(self, image: Tensor) -> Sequence[Tensor]:
        """Map an image (B, 3, H, W) to four maps (B, channels[k], h_k, w_k), finest first.

        The usual sizes are 1/4, 1/8, 1/16 and 1/32 of the image. Decoders read the true sizes
        from the maps, so a division that rounds up or down, or a dilated last stage, is fine.
        """
        ...


class Architecture(NamedTuple):
    """The published shape of one encoder: blocks and channels of its four stages."""

    depths: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    layer_type: str = ""  # of a ResNet: "basic" or "bottleneck"


RESNETS = {
    "resnet18": Architecture((2, 2, 2, 2), (64, 128, 256, 512), "basic"),
    "resnet34": Architecture((3, 4, 6, 3), (64, 128, 256, 512), "basic"),
    "resnet50": Architecture((3, 4, 6, 3), (256, 512, 1024, 2048), "bottleneck"),
    "resnet101": Architecture((3, 4, 23, 3), (256, 512, 1024, 2048), "bottleneck"),
    "resnet152": Architecture((3, 8, 36, 3), (256, 512, 1024, 2048), "bottleneck"),
}
CONVNEXTS = {
    "convnext_tiny": Architecture((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": Architecture((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": Architecture((3, 3, 27, 3), (128, 256, 512, 1024)),
}


class ResNetEncoder(NormEncoder):
    """ResNet v1.5 of ``transformers``.

    Args:
        name: one of ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101``, ``resnet152``.
        pretrained: a model name of the Hugging Face hub such as ``microsoft/resnet-50``, a folder
            written by ``save_pretrained``, or a ``.pth`` or ``.safetensors`` file of torchvision's
            ResNet of that name. ``None`` starts from random weights.
        freeze_norm: keep every batch norm at its running statistics and its affine parameters
            without gradient, as RefineNet does with pre-trained weights. Survives ``train()``. The
            running statistics of random weights mean nothing, so leave it off there.
        fold_norm: fold every batch norm into the convolution before it: the function of a frozen
            one, and faster.
        output_stride: 32, or 16 or 8 for an encoder whose last one or two stages are dilated in
            place of strided (DeepLabv3 and PSPNet).
        zero_residual: begin each block as its shortcut alone: the weight of its last batch norm is 0
            (Goyal et al., 2017, section 5.1). For random weights; pre-trained ones bring their own.

    Raises:
        ValueError: an unknown name or output stride; weights that cannot be loaded or that belong
            to another network.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        pretrained: str | None = None,
        freeze_norm: bool = False,
        fold_norm: bool = False,
        output_stride: int = 32,
        zero_residual: bool = False,
    ) -> None:
        super().__init__()
        architecture = _architecture(name, RESNETS)
        if output_stride not in (8, 16, 32):
            raise ValueError(
                f"Expected `output_stride` to be 8, 16 or 32, but got {output_stride}."
            )
        config = _config(ResNetConfig, architecture, layer_type=architecture.layer_type)
        from_file = pretrained is not None and is_weights_file(pretrained)
        backbone = (
            ResNetBackbone(config)
            if pretrained is None or from_file
            else load_weights(ResNetBackbone, name, config, pretrained)
        )
        self.channels = architecture.channels
        self.output_stride = output_stride
        self.embedder = backbone.embedder
        self.stages = backbone.encoder.stages
        if pretrained is not None and from_file:
            load_weights_file(self, Path(pretrained), _torchvision_names(self), network=name)
        _replace_stride_with_dilation(self.stages, output_stride)
        if zero_residual and pretrained is None:
            stages: Any = self.stages
            for stage in stages:
                for block in stage.layers:
                    nn.init.zeros_(block.layer[-1].normalization.weight)
        self.freeze_or_fold(freeze=freeze_norm, fold=fold_norm)

    def forward(self, image: Tensor) -> FourMaps:
        """Return the four maps of ``image`` (B, 3, H, W), finest first. Sizes are rounded up.

        Raises:
            ValueError: batch norm would have to learn from a single value per channel, because one
                image is trained on and its last map is a single pixel.
        """
        self.check_norm_can_learn(image)
        return _run_stages(self.embedder(image), self.stages)


class ConvNextEncoder(nn.Module):
    """ConvNeXt of ``transformers``: an encoder of another family behind the same protocol.

    It has layer norm in place of batch norm, so there is nothing to freeze and it trains at
    batch 1. Its map sizes are rounded down.

    Args:
        name: one of ``convnext_tiny``, ``convnext_small``, ``convnext_base``.
        pretrained: a model name such as ``facebook/convnext-tiny-224``, a folder, or ``None``.
        levels: the maps that are read, 0 for the finest; only these have a norm, and the others are
            returned without. A norm that nothing reads has no gradient, which
            ``DistributedDataParallel`` takes for a fault.

    Raises:
        ValueError: an unknown name; weights that cannot be loaded or belong to another network.
    """

    def __init__(
        self,
        name: str = "convnext_tiny",
        *,
        pretrained: str | None = None,
        levels: Collection[int] = ALL_LEVELS,
    ) -> None:
        super().__init__()
        architecture = _architecture(name, CONVNEXTS)
        config = _config(ConvNextConfig, architecture)
        # Not ConvNextBackbone: it collects its maps by hooks on the stages, which can be neither
        # pickled nor compiled. What it adds to the model are the norms below.
        model = (
            ConvNextModel(config)
            if pretrained is None
            else load_weights(ConvNextModel, name, config, pretrained)
        )
        self.channels = architecture.channels
        self.embeddings = model.embeddings
        self.stages = model.encoder.stages
        self.norms = nn.ModuleList(
            ConvNextLayerNorm(count, data_format="channels_first")  # type: ignore[no-untyped-call]
            if level in levels
            else nn.Identity()
            for level, count in enumerate(self.channels)
        )

    def forward(self, image: Tensor) -> FourMaps:
        """Return the four maps of ``image`` (B, 3, H, W), finest first; those read are normalised."""
        first, second, third, fourth = (
            norm(feature)
            for norm, feature in zip(
                self.norms, _run_stages(self.embeddings(image), self.stages), strict=True
            )
        )
        return first, second, third, fourth

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Load weights; those of norms that nothing reads, which old checkpoints have, are left out."""
        for level, norm in enumerate(self.norms):
            if isinstance(norm, nn.Identity):
                for name in ("weight", "bias"):
                    state_dict.pop(f"{prefix}norms.{level}.{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _run_stages(feature: Tensor, stages: nn.ModuleList) -> FourMaps:
    """Run the stages one by one and keep what each returns."""
    maps = []
    for stage in stages:
        feature = stage(feature)
        maps.append(feature)
    first, second, third, fourth = maps
    return first, second, third, fourth


def _architecture(name: str, known: dict[str, Architecture]) -> Architecture:
    if name not in known:
        raise ValueError(f"Expected an encoder among {', '.join(known)}, but got {name!r}.")
    return known[name]


def _config(config_type: Any, architecture: Architecture, **settings: Any) -> Any:
    return config_type(
        depths=list(architecture.depths),
        hidden_sizes=list(architecture.channels),
        out_features=STAGES,
        **settings,
    )


def load_weights(model_type: Any, name: str, config: Any, source: str) -> Any:
    """Load the weights of ``source``; make sure that they are those of ``name``, all of them."""
    if source in NAMED:
        raise ValueError(
            f"Expected `pretrained` to name a {name} on the Hugging Face hub or a folder written by "
            f"`save_pretrained`, but got {source!r}: did you mean another backbone, {NAMED[source]}?"
        )
    taps = {"out_features": STAGES} if hasattr(config, "out_features") else {}
    try:
        settings = type(config).get_config_dict(source)[0]
        if "model_type" not in settings:
            raise OSError("there is no model configuration")
        for key in ("model_type", "layer_type", "depths", "hidden_sizes"):
            # A key that was not written has the default of its class, which is a ResNet-50.
            expected = getattr(config, key, None)
            found = settings.get(key, getattr(type(config)(), key, None))
            if found != expected:
                raise ValueError(
                    f"Expected {source!r} to hold a {name} with {key} {expected!r}, but got "
                    f"{found!r}: does the backbone match the weights?"
                )
        model, loading = model_type.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, **taps
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = reason_of(error)
        raise ValueError(
            f"Expected `pretrained` to name a {name} on the Hugging Face hub or a folder written "
            f"by `save_pretrained`, but got {source!r}, which cannot be loaded: {reason}."
        ) from error
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(
            f"Expected {source!r} to hold all weights of a {name}, but got none for {len(missing)} "
            f"of them, {missing[0]!r} being the first: was it saved from another kind of model?"
        )
    return model


def _torchvision_names(encoder: ResNetEncoder) -> dict[str, str]:
    """Map torchvision's names of a ResNet's layers to ``transformers``' names of them."""
    layers = [("conv1", "bn1", "embedder.embedder")]
    for index, stage in enumerate(encoder.stages):
        for number, block in enumerate(stage.layers):
            there, here = f"layer{index + 1}.{number}", f"stages.{index}.layers.{number}"
            layers += [
                (f"{there}.conv{each + 1}", f"{there}.bn{each + 1}", f"{here}.layer.{each}")
                for each in range(len(block.layer))
            ]
            if hasattr(block.shortcut, "convolution"):
                shortcut = f"{there}.downsample"
                layers.append((f"{shortcut}.0", f"{shortcut}.1", f"{here}.shortcut"))
    return names_of_parts(layers)


def _replace_stride_with_dilation(stages: Any, output_stride: int) -> None:
    """Turn the last strides of 2 into dilation, so that every kernel sees what it saw before.

    The convolution that loses its stride keeps its dilation; every one after it is dilated twice
    as much. The strided map is then exactly every second pixel of the dilated one.
    """
    dilation = 1
    for stage in stages[{32: 4, 16: 3, 8: 2}[output_stride] :]:
        for block in stage.layers:
            if hasattr(block.shortcut, "convolution"):
                block.shortcut.convolution.stride = (1, 1)
            for layer in block.layer:
                convolution = layer.convolution
                reach = dilation * (convolution.kernel_size[0] // 2)
                convolution.dilation = (dilation, dilation)
                convolution.padding = (reach, reach)
                if convolution.stride != (1, 1):
                    convolution.stride = (1, 1)
                    dilation *= 2
