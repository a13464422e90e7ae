"""
From predictions to weights, step by step
=========================================

A room, what a network makes of it, and how R, the regions, Z and M come about.
"""

# %%
# The batch
# ---------
# A generated room with predictions that err like a network's: labels run into one another at their
# edges, depth is smoothed. Brighter is farther; grey is unknown.

import matplotlib.pyplot as plt
import numpy as np

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.imperfect_rooms import PALETTE, imperfect_rooms

image, logits, target, log_depth, depth = imperfect_rooms()
void, missing = (target[0] == 255).numpy(), (depth[0] <= 0).numpy()


def show(ax, values, title, *, mask=None, **options):
    """Draw one map with its colour bar; masked pixels are grey."""
    values = np.ma.masked_array(values, mask)
    ax.set_facecolor("0.6")
    drawn = ax.imshow(values, interpolation="nearest", **options)
    plt.colorbar(drawn, ax=ax, shrink=0.7)
    ax.set(title=title, xticks=[], yticks=[])


def paint(classes):
    """Colours of a map of classes."""
    return np.where(void[..., None], 150, PALETTE[np.where(void, 0, classes)])


figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
for ax, picture, title in (
    (axes[0, 0], image[0].permute(1, 2, 0), "image"),
    (axes[0, 1], paint(target[0]), "labels (grey: void)"),
    (axes[1, 0], paint(logits[0].argmax(0)), "predicted labels"),
):
    ax.imshow(picture, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
show(axes[1, 1], depth[0], "true depth D* (level)", mask=missing, cmap="viridis")

# %%
# R, the depth prediction error
# -----------------------------
# The absolute error of log-depth, divided by the largest of its image. A network that smooths depth
# is wrong at the edges of things, where labels are often wrong as well.

dpe = LF.depth_prediction_error(log_depth, depth)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
levels = {"cmap": "viridis", "vmin": 1, "vmax": float(depth.max())}
show(axes[0], log_depth[0].exp(), "predicted depth D (level)", **levels)
show(axes[1], dpe[0], "R", mask=missing, cmap="magma", vmin=0, vmax=1)

# %%
# Regions
# -------
# The image is cut into 8 x 8 cells (white lines) and each cell into slices of similar depth. Each
# colour below is one slice; a region is one slice of one cell.

regions = LF.depth_aware_regions(depth)
whole = LF.depth_aware_regions(depth, cells=(1, 1))
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
show(ax, whole[0], "depth bin of each pixel", mask=missing, cmap="viridis")
height, width = target.shape[1:]
for k in range(1, 8):
    ax.axhline(k * height / 8 - 0.5, color="w", lw=0.6)
    ax.axvline(k * width / 8 - 0.5, color="w", lw=0.6)
print(f"{len(regions[regions >= 0].unique())} regions have a pixel in this image")

# %%
# Z, the depth-aware segmentation error
# -------------------------------------
# The share of wrong labels in a region, given to each of its pixels.

dse = LF.depth_aware_segmentation_error(logits, target, depth, ignore_index=255)
wrong = (logits.argmax(1) != target)[0]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
show(axes[0], wrong.float(), "wrong (1) and right (0)", mask=void, cmap="magma", vmin=0, vmax=1)
show(axes[1], dse[0], "Z", mask=void | missing, cmap="magma", vmin=0, vmax=1)

# %%
# M, the loss weight
# ------------------
# Their sum. It multiplies the loss of each pixel, and no gradient flows through it.

weighting = lwm.LossWeightModule(ignore_index=255)
weight = weighting(logits, target, log_depth, depth)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
show(ax, weight[0], "M = R + Z", mask=void, cmap="magma", vmin=0)
plt.show()
