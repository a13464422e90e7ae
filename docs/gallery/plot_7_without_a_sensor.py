"""
Mining without a depth sensor
=============================

Depth that a monocular model estimates will do for Z: regions need to know which pixels are about
equally far away, not how many metres that is.
"""

import matplotlib.pyplot as plt
import torch

import lwm_loss as lwm
from examples.imperfect_rooms import imperfect_rooms
from examples.rgbd.data.described import to_levels
from examples.rgbd.data.description import DepthFormat

image, logits, target, log_depth, depth = imperfect_rooms()
void = (target[0] == 255).numpy()

# %%
# A stand-in for the estimate of a monocular model: relative inverse depth without a scale, smooth, and
# known everywhere. ``python -m examples.rgbd.estimate_depth`` makes real ones for a folder of images:
# :doc:`/no_depth_sensor`.

inverse = 1 / log_depth.exp()
inverse = 3 * inverse / inverse.max() + 0.2

# %%
# The pipelines read such numbers as levels of each image, its nearest pixel at 1, its farthest at 256:

wanted = DepthFormat(per_metre=1.0, kind="relative", inverse=True)
levels = torch.from_numpy(to_levels(inverse[0].numpy(), wanted))[None]

# %%
# ``fusion="dse"`` mines by Z alone, and the network needs no depth output.

mine = lwm.LossWeightModule(fusion="dse", ignore_index=255)
no_depth = lwm.LossWeightModule(fusion="dse", ignore_index=255, bin_size=1000.0)
flat = torch.full_like(depth, 100.0)
maps = {
    "depth of a sensor": mine(logits, target, target_depth=depth),
    "estimated depth": mine(logits, target, target_depth=levels),
    "no depth: cells alone": no_depth(logits, target, target_depth=flat),
}
figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
for ax, (title, weight) in zip(axes, maps.items()):
    drawn = ax.imshow(weight[0], cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
plt.colorbar(drawn, ax=axes, label="Z", shrink=0.8)
plt.show()

# %%
# How alike are they? The correlation with the map of the sensor, over labelled pixels:

for title, weight in maps.items():
    both = torch.stack([maps["depth of a sensor"][0][~void], weight[0][~void]])
    print(f"{title:22} {float(both.corrcoef()[0, 1]):.2f}")
