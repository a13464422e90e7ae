"""Encoders of timm, where it is installed: any network of it that gives four maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from examples.rgbd.networks.norm import NormEncoder

PREFIX = "timm/"


class TimmEncoder(NormEncoder):
    """The last four maps of a network of timm, finest first.

    Args:
        name: as timm has it, such as ``convnextv2_nano``.
        pretrained: ``"timm"`` for the weights that timm has for it, or a file with its weights;
            ``None`` starts from random ones.
        freeze_norm: keep every batch norm at its running statistics.

    Raises:
        ValueError: timm cannot be imported, or has no such network, or one that does not give four
            maps; weights that cannot be used.
    """

    def __init__(
        self, name: str, *, pretrained: str | None = None, freeze_norm: bool = False
    ) -> None:
        super().__init__()
        try:
            import timm
        except (ImportError, RuntimeError) as error:  # torchvision: an operator that torch lacks
            raise ValueError(
                f"Expected the package timm for backbone {PREFIX + name!r}, but it cannot be imported "
                f"({' '.join(str(error).split())[:120]}): pip install timm, with the torchvision that "
                "fits this torch."
            ) from None
        options: dict[str, Any] = {"pretrained": pretrained is not None}
        if pretrained not in (None, "timm"):
            options["pretrained_cfg_overlay"] = {"file": pretrained}
        try:
            self.network = timm.create_model(
                name, features_only=True, out_indices=(-4, -3, -2, -1), **options
            )
        except Exception as error:  # whatever a network of timm and its weights may raise
            raise ValueError(
                f"Expected a network of timm that gives four maps, and weights that fit it, for "
                f"backbone {PREFIX + name!r}, but it cannot be made "
                f"({' '.join(str(error).split())[:160]})."
            ) from error
        first, second, third, fourth = self.network.feature_info.channels()
        self.channels = (first, second, third, fourth)
        self.output_stride = int(self.network.feature_info.reduction()[-1])
        self.freeze_or_fold(freeze=freeze_norm, fold=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the four maps of ``image`` (B, 3, H, W), finest first."""
        self.check_norm_can_learn(image)
        first, second, third, fourth = self.network(image)
        return first, second, third, fourth
