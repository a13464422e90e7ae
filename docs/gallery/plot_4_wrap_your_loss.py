"""
Wrap your loss
==============

Any criterion that gives one value per pixel can be weighted. Here is what that does to the gradient
of plain cross-entropy.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import lwm_loss as lwm
from examples.imperfect_rooms import imperfect_rooms

image, logits, target, log_depth, depth = imperfect_rooms()

own_loss = nn.CrossEntropyLoss(ignore_index=255)
hard_pixels = lwm.HardPixelLoss(
    nn.CrossEntropyLoss(ignore_index=255, reduction="none"),
    lwm.LossWeightModule(ignore_index=255),
)


def pull(loss):
    """How strongly each pixel's scores are pulled: the length of their gradient."""
    (gradient,) = torch.autograd.grad(loss, scores)
    return gradient.norm(dim=1)[0]


scores = logits.clone().requires_grad_()
plain = pull(own_loss(scores, target))
mined = pull(own_loss(scores, target) + hard_pixels(scores, target, log_depth, depth))

# %%
# Both maps share one scale. Pixels that were hard are pulled up to three times as strongly, easy ones
# as before; void pixels are not pulled at all.

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
options = {"cmap": "magma", "vmin": 0, "vmax": float(mined.quantile(0.995))}
for ax, values, title in (
    (axes[0], plain, "gradient of the loss you have"),
    (axes[1], mined, "with hard pixels"),
):
    drawn = ax.imshow(values, interpolation="nearest", **options)
    ax.set(title=title, xticks=[], yticks=[])
plt.colorbar(drawn, ax=axes[:2], label="length per pixel", shrink=0.8)
ratio = torch.where(plain > 0, mined / plain, torch.nan)
drawn = axes[2].imshow(ratio, cmap="viridis", vmin=1, vmax=3, interpolation="nearest")
axes[2].set(title="ratio", xticks=[], yticks=[])
plt.colorbar(drawn, ax=axes[2], shrink=0.8)
plt.show()

# %%
# Which other losses fit, and how: :doc:`/wrapping`.
