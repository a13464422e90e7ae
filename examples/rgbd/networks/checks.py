"""What every network checks about its arguments and its input, and how it says so."""

from __future__ import annotations

from torch import Tensor, nn

from examples.rgbd.networks.encoder import FourScaleEncoder

SMALLEST_SIDE = 32


def check_encoder(encoder: FourScaleEncoder) -> None:
    """Raise a ``TypeError`` unless ``encoder`` is a module with the channels of four maps."""
    channels = getattr(encoder, "channels", None)
    if not isinstance(encoder, nn.Module) or not (
        isinstance(channels, tuple) and [type(count) for count in channels] == [int] * 4
    ):
        raise TypeError(
            "Expected `encoder` to be an nn.Module with `channels`, a tuple of four integers, "
            f"but got {type(encoder).__name__} with channels {channels!r}."
        )


def check_positive(**counts: int) -> None:
    """Raise a ``ValueError`` that names the first argument below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, but got {count}.")


def check_image(image: Tensor) -> None:
    """Raise unless ``image`` is a floating-point (B, 3, H, W) of at least 32 x 32."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"Expected `image` to be (B, 3, H, W), but got {tuple(image.shape)}: did you mean to "
            "add a batch dimension or to put the channels first?"
        )
    if min(image.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"Expected `image` to be at least {SMALLEST_SIDE} x {SMALLEST_SIDE}, the stride of the "
            f"coarsest map, but got {image.shape[-2]} x {image.shape[-1]}."
        )
    if not image.is_floating_point():
        raise TypeError(
            f"Expected `image` to be floating point, but got {image.dtype}: did you mean to scale "
            "and normalise it?"
        )


def check_norm_can_learn(feature: Tensor) -> None:
    """Raise a ``ValueError`` if batch norm in training would see one value per channel."""
    if feature.shape[0] * feature.shape[-2] * feature.shape[-1] == 1:
        raise ValueError(
            "Expected more than one value per channel for batch norm to learn from, but got one "
            "image whose last map is a single pixel: did you mean a larger batch or image?"
        )
