"""Batch norm in an encoder: learnt, frozen, or folded into the convolutions."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights


class NormEncoder(nn.Module):
    """Base of the encoders with batch norm, which can be frozen.

    A class calls ``freeze_or_fold`` at the end of its construction.

    Attributes:
        freeze_norm: every batch norm stays at its running statistics, its affine parameters have no
            gradient. Survives ``train()``.
        output_stride: stride of the last map.
    """

    freeze_norm: bool
    output_stride: int

    def freeze_or_fold(self, *, freeze: bool, fold: bool) -> None:
        """Freeze every batch norm, or fold it into the convolution before it.

        Args:
            freeze: keep the running statistics.
            fold: multiply the scale into the weights and make the shift a bias. The function is
                that of the frozen norm, in fewer passes over memory, but each weight learns scaled.
        """
        if fold:
            fold_norms(self)
        self.freeze_norm = freeze or fold
        if self.freeze_norm:
            for norm in self._norms():
                norm.requires_grad_(False)
            self.train(self.training)

    def _norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    def train(self, mode: bool = True) -> NormEncoder:
        """Set the training mode; a frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_norm:
            for norm in self._norms():
                norm.eval()
        return self

    def check_norm_can_learn(self, image: Tensor) -> None:
        """Raise a ``ValueError`` if a batch norm that learns would see one value per channel."""
        batch, _, height, width = image.shape
        learns = self.training and not self.freeze_norm
        if learns and batch == 1 and max(height, width) <= self.output_stride:
            raise ValueError(
                f"Expected more than one value per channel for batch norm to learn from, but got "
                f"one image of {height} x {width}, whose last map is a single pixel: did you mean "
                "a larger batch, a larger image, or `freeze_norm=True`?"
            )


def fold_norms(module: nn.Module) -> None:
    """Fold each ``normalization`` into the ``convolution`` beside it, and put an identity there.

    Those two names are what the layers of ``transformers``' ResNet and of ``EfficientNetLiteEncoder``
    are made of.
    """
    for layer in list(module.modules()):
        norm = getattr(layer, "normalization", None)
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        convolution = cast(nn.Conv2d, layer.convolution)
        with torch.no_grad():
            weight, bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, cast(Tensor, norm.running_mean),
                cast(Tensor, norm.running_var), norm.eps, norm.weight, norm.bias,
            )  # fmt: skip
        convolution.weight = weight
        # It learns like the weight, also where the norm was frozen before.
        convolution.bias = bias.requires_grad_(weight.requires_grad)
        layer.normalization = nn.Identity()
