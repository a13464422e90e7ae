"""Augment depth with albumentations, torchvision v2 or kornia.

Run it by `python -m examples.recipes.augmentation`.

Three rules. Depth is resampled by nearest neighbour: between a chair and a wall there is no depth.
What comes in from outside is filled with 0 in depth (missing) and with 255 in labels (void). A zoom by s
brings things nearer: metric depth is divided by s. `fill_faults` measures what a wrong fill does.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

import lwm_loss as lwm

VOID = 255
DEGREES = 20.0


def albumentations_pipeline(zoom: tuple[float, float] = (1.0, 1.5)) -> Any:
    """Rotate and zoom. Call it with image=, mask= (labels) and depth=, as numpy arrays."""
    import albumentations as A
    import cv2

    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=zoom,
                rotate=(-DEGREES, DEGREES),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                fill=0,
                fill_mask=VOID,
                p=1.0,
            ),
        ],
        additional_targets={"depth": "image"},
    )


def rotate_torchvision(image: Tensor, label: Tensor, depth: Tensor, degrees: float) -> Any:
    """Rotate with torchvision v2: each map has a mode and a fill of its own."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    nearest = InterpolationMode.NEAREST
    return (
        tv.rotate(image, degrees, InterpolationMode.BILINEAR),
        tv.rotate(label.unsqueeze(1), degrees, nearest, fill=[VOID]).squeeze(1),
        tv.rotate(depth.unsqueeze(1), degrees, nearest, fill=[0.0]).squeeze(1),
    )


def zoom_and_rotate_kornia(
    image: Tensor, label: Tensor, metres: Tensor, zoom: float = 1.2, degrees: float = DEGREES
) -> tuple[Tensor, Tensor, Tensor]:
    """Zoom and rotate with kornia: image (B, 3, H, W), labels and metric depth (B, H, W).

    kornia fills with 0 only. Labels are shifted by one first, so that 0 means "from outside".
    """
    import kornia.geometry.transform as K

    size = (image.shape[2], image.shape[3])
    centre = torch.tensor([[(size[1] - 1) / 2, (size[0] - 1) / 2]])
    matrix = K.get_rotation_matrix2d(centre, torch.tensor([degrees]), torch.full((1, 2), zoom))
    matrix = matrix.to(image).expand(len(image), -1, -1)
    image = K.warp_affine(image, matrix, size, mode="bilinear")
    maps = torch.stack([label.to(image) + 1, metres.to(image)], 1)
    shifted, metres = K.warp_affine(maps, matrix, size, mode="nearest").unbind(1)
    label = torch.where(shifted > 0, shifted.round().long() - 1, VOID)
    return image, label, metres / zoom


def fill_faults(
    target: Tensor, logits: Tensor, log_depth: Tensor, depth: Tensor
) -> dict[str, float]:
    """Measure M on the frame's inside when a quarter of the frame is filled, rightly and wrongly.

    Returns the mean absolute change of M at pixels that were not filled.
    """
    weighting = lwm.LossWeightModule(ignore_index=VOID)
    width = target.shape[-1]
    outside = torch.arange(width) < width // 4
    inside = ~outside & (target != VOID)
    right_label, right_depth = target.where(~outside, VOID), depth.where(~outside, 0.0)
    right = weighting(logits, right_label, log_depth, right_depth)
    faults = {
        "depth filled with 256 (the far end)": (right_label, depth.where(~outside, 256.0)),
        "depth filled with 1 (the near end)": (right_label, depth.where(~outside, 1.0)),
        "labels filled with class 0": (target.where(~outside, 0), right_depth),
        "labels with class 0, depth with 256": (
            target.where(~outside, 0),
            depth.where(~outside, 256.0),
        ),
    }
    return {
        name: float((weighting(logits, label, log_depth, metres) - right)[inside].abs().mean())
        for name, (label, metres) in faults.items()
    }


def main() -> None:
    """Print what wrong fills do to the weights of a generated room."""
    from examples.imperfect_rooms import imperfect_rooms

    _, logits, target, log_depth, depth = imperfect_rooms(4)
    weight = lwm.LossWeightModule(ignore_index=VOID)(logits, target, log_depth, depth)
    print(f"mean M: {float(weight[target != VOID].mean()):.3f}; mean change of M by a wrong fill:")
    for name, change in fill_faults(target, logits, log_depth, depth).items():
        print(f"  {change:.3f}  {name}")
    for name in ("albumentations", "torchvision", "kornia"):
        found = importlib.util.find_spec(name) is not None
        print(f"{name}: {'installed' if found else 'not installed'}")


if __name__ == "__main__":
    main()
