"""
Volumes
=======

(D, H, W) may stand wherever (H, W) does: a stack of slices, a scan, a video with depth.
"""

import matplotlib.pyplot as plt
import torch

import lwm_loss as lwm

torch.manual_seed(0)
z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (16, 48, 48)), indexing="ij")
radius = (x**2 + y**2 + z**2).sqrt()
target = (radius < 0.7).long()[None]  # a ball
logits = torch.stack([radius - 0.6, 0.6 - radius])[None] * 8  # predicted too small
depth = (128 + 60 * z)[None]  # the distance of each slice, in levels
log_depth = depth.log() + 0.1 * (x * y)[None]

weighting = lwm.LossWeightModule()
maps = weighting.maps(logits, target, log_depth, depth)
print(maps.weight.shape)

# %%
# The hull that was missed is what gets the weight, slice by slice.

figure, axes = plt.subplots(2, 4, figsize=(11, 5.4), layout="constrained")
for column, k in enumerate((3, 6, 9, 12)):
    axes[0, column].imshow(
        target[0, k] + 2 * logits[0].argmax(0)[k], cmap="viridis", vmin=0, vmax=3
    )
    drawn = axes[1, column].imshow(maps.weight[0, k], cmap="magma", vmin=0, vmax=2)
    axes[0, column].set(title=f"slice {k}", xticks=[], yticks=[])
    axes[1, column].set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("teal: missed, yellow: found")
axes[1, 0].set_ylabel("M")
plt.colorbar(drawn, ax=axes[1], label="M = R + Z", shrink=0.8)
plt.show()
