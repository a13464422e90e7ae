"""
What the curriculum lets in
===========================

The curriculum begins with the easier half of the pixels and lets the harder ones in from epoch to
epoch, until at the end all of them count.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

import lwm_loss as lwm
from examples.imperfect_rooms import imperfect_rooms

image, logits, target, log_depth, depth = imperfect_rooms()
labelled = target != 255
weight = lwm.LossWeightModule(ignore_index=255)(logits, target, log_depth, depth)

EPOCHS = 10
curriculum = lwm.SelfPacedCurriculum(epochs=EPOCHS)
kept = []
for _ in range(EPOCHS + 1):
    kept.append(curriculum(weight, labelled))
    curriculum.step()

# %%
# Drag the slider: blue pixels are labelled, have a weight, and are left out for now.

figure, ax = plt.subplots(figsize=(5.2, 3.9), dpi=75, layout="constrained")
void = ~labelled[0].numpy()


def frame(epoch):
    """The kept part of M at the beginning of an epoch."""
    out = ((kept[epoch] == 0) & (weight > 0) & labelled)[0].numpy()
    drawn.set_data(np.ma.masked_array(kept[epoch][0].numpy(), out | void))
    share = 100 * (1 - out[~void].mean())
    ax.set_title(f"epoch {epoch} of {EPOCHS}: {share:.0f} % of the labelled pixels")
    return (drawn,)


ax.set_facecolor("#5c99b8")
ax.set(xticks=[], yticks=[])
drawn = ax.imshow(
    weight[0], cmap="magma", vmin=0, vmax=float(weight.max()), interpolation="nearest"
)
plt.colorbar(drawn, ax=ax, label="M that is kept")
animation = FuncAnimation(figure, frame, frames=EPOCHS + 1, interval=700)

# %%
# The threshold rises linearly from the median of M to its maximum (Eq. 8), so the *share* of pixels
# does not: most weights lie near the median, and the last epochs add few but hard pixels.

shares = [float(((k > 0) | (weight == 0))[labelled].float().mean()) for k in kept]
figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
ax.plot(range(EPOCHS + 1), [100 * s for s in shares], marker="o")
ax.set(xlabel="epoch", ylabel="labelled pixels that count (%)", ylim=(0, 105))
ax.grid(alpha=0.3)
plt.show()
