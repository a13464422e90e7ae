"""
What the options do to M
========================

The same room and the same predictions, one option changed at a time.
"""

import matplotlib.pyplot as plt

import lwm_loss as lwm
from examples.imperfect_rooms import imperfect_rooms

image, logits, target, log_depth, depth = imperfect_rooms()


def compare(option, values, **others):
    """Draw M for some values of an option, on one scale."""
    figure, axes = plt.subplots(1, len(values), figsize=(12, 2.6), layout="constrained")
    for ax, value in zip(axes, values):
        weighting = lwm.LossWeightModule(ignore_index=255, **{option: value}, **others)
        weight = weighting(logits, target, log_depth, depth)
        drawn = ax.imshow(weight[0], cmap="magma", vmin=0, vmax=1.4, interpolation="nearest")
        ax.set(title=f"{option}={value!r}", xticks=[], yticks=[])
    plt.colorbar(drawn, ax=axes, label="M", shrink=0.8, extend="max")


# %%
# ``cells``: the grid
# -------------------
# One cell for the whole image averages errors over everything at one distance; ``"pixel"`` leaves each
# pixel its own right or wrong. The default is the paper's 8 x 8.

compare("cells", [(1, 1), (4, 4), (8, 8), "pixel"])

# %%
# ``bin_size``: the slices of depth
# ---------------------------------
# In the units of ``depth_range``, levels of [1, 256] by default. One bin for all depths gives plain
# squares; narrow bins follow the things in them.

compare("bin_size", [256.0, 40.0, 10.0, 2.0])

# %%
# ``fusion``: R and Z together
# ----------------------------
# ``"dpe"`` and ``"dse"`` are R and Z alone.

compare("fusion", ["dpe", "dse", "product", "max", "sum"])

# %%
# ``error``: what is averaged within a region
# -------------------------------------------
# Wrong or right, as in the paper; one minus the probability of the true class, which also sees labels
# that are right by a hair; or the cross-entropy.

compare("error", ["misclassified", "probability", "loss"])
plt.show()
