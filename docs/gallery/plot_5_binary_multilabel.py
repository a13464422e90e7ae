"""
Binary masks and several labels a pixel
=======================================

``task="binary"`` takes one logit a pixel, ``task="multilabel"`` one for each label. Everything else is
as with classes.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import lwm_loss as lwm
from examples.imperfect_rooms import CLASSES, imperfect_rooms

image, logits, target, log_depth, depth = imperfect_rooms()
void = target == 255

# %%
# Binary
# ------
# "Is this a wall?": a single logit, a mask of 0 and 1, and 255 where nobody knows.

wall = CLASSES.index("wall")
others = torch.cat([logits[:, :wall], logits[:, wall + 1 :]], 1).amax(1, keepdim=True)
logit = logits[:, [wall]] - others
mask = torch.where(void, 255, (target == wall).long())

weighting = lwm.LossWeightModule(task="binary", ignore_index=255)
criterion = lwm.HardPixelLoss(nn.BCEWithLogitsLoss(reduction="none"), weighting)
loss = criterion(logit, mask, log_depth, depth)
print(f"L_h of the mask: {loss:.3f}")

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
binary = weighting.maps(logit, mask, log_depth, depth)
for ax, values, title in (
    (axes[0], mask[0].where(~void[0], torch.tensor(-1)), "mask (dark: void)"),
    (axes[1], (logit[0, 0] > 0).long(), "prediction"),
):
    ax.imshow(values, cmap="viridis", vmin=-1, vmax=1, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
drawn = axes[2].imshow(binary.weight[0], cmap="magma", vmin=0, interpolation="nearest")
axes[2].set(title="M", xticks=[], yticks=[])
plt.colorbar(drawn, ax=axes[2], shrink=0.8)

# %%
# Several labels
# --------------
# "Furniture", "wall or ceiling", "near": labels that overlap. An entry of 255 is one that nobody
# annotated; here half of the last label. Wrong is the share of a pixel's valid entries that differ.

names = ("wall", "ceiling")
structure = sum((target == CLASSES.index(name)).long() for name in names)
labels = torch.stack([mask, torch.where(void, 255, structure), (depth < 100).long()], 1)
labels[:, 2, :, ::2] = 255
scores = torch.cat([logit, logit + 1, 100 - log_depth.exp().unsqueeze(1)], 1)

weighting = lwm.LossWeightModule(task="multilabel", ignore_index=255)
maps = weighting.maps(scores, labels, log_depth, depth)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, values, title in ((axes[0], maps.dse[0], "Z"), (axes[1], maps.weight[0], "M")):
    drawn = ax.imshow(values, cmap="magma", vmin=0, vmax=1.4, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
plt.colorbar(drawn, ax=axes, shrink=0.8, extend="max")
plt.show()
