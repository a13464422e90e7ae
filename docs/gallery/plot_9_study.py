"""
What the study found
====================

Each row of the study's CSV is a run on real NYUDv2: an arm, a seed, what was measured on the 654 test
frames. :doc:`/study` says how it was made and what may be concluded; here it is drawn from the file
alone.
"""

from pathlib import Path

import matplotlib.pyplot as plt

from examples.study.arms import ARMS, MAIN
from examples.study.report import MEASURES, compare, read_table

stages = {
    name: read_table(Path(f"../_static/study/{name}/results.csv"))
    for name in ("frozen", "finetune")
}
for name, table in stages.items():
    print(f"{name}: {len(table)} arms, {sum(map(len, table.values()))} runs")
SHOWN = {*MAIN, "boundaries", "outlines"}  # the page of the study draws all


def forest(table, measures, against):
    """Draw paired differences to an arm, one panel a measure: each seed, the mean, its interval."""
    arms = [arm for arm in table if arm != against and arm in SHOWN]
    figure, axes = plt.subplots(
        1, len(measures), figsize=(12, 1 + 0.21 * len(arms)), sharey=True, layout="constrained"
    )
    for ax, measure in zip(axes, measures):
        found = compare(table, measure, against)
        for place, arm in enumerate(arms):
            seeds = sorted(table[arm].keys() & table[against].keys())
            values = [table[arm][seed][measure] - table[against][seed][measure] for seed in seeds]
            ax.plot(values, [place] * len(values), ".", color="0.6", markersize=4)
            ax.plot(found[arm].t_interval, [place, place], color="C0")
            ax.plot(found[arm].mean, place, "o", color="C0", markersize=5)
        ax.axvline(0, color="0.5", linewidth=0.8)
        ax.set_xlabel(f"{MEASURES[measure]}\n(difference in points)")
    axes[0].set_yticks(range(len(arms)), [ARMS[arm].title for arm in arms])
    axes[0].invert_yaxis()
    figure.suptitle(f"Against {ARMS[against].title}: seeds (grey), mean and 95 % t interval (blue)")


# %%
# A frozen encoder, against L_s + L_d
# -----------------------------------
# Class weights gain mean IoU, and so does a weight on label boundaries, without any depth. A weight at
# jumps of the true depth gains accuracy there, and costs no mean IoU that could be seen, whether all
# jumps count or those alone at which the label changes. The paper's M gains neither, and makes
# confidences more honest.

forest(stages["frozen"], ["miou", "depth_edge_accuracy", "calibration_error"], "sd")

# %%
# A frozen encoder, against a constant of the same mass
# -----------------------------------------------------
# L_h adds to the loss whatever its weights are. The constant with M's mean shows what of a difference
# comes from where M points.

forest(stages["frozen"], ["miou", "pixel_accuracy", "boundary_accuracy"], "uniform")

# %%
# End to end, against L_s + L_d
# -----------------------------
# Four seeds, and wider intervals. L_s alone, class weights and label boundaries gain again, and so do
# label boundaries at jumps of the depth. What the paper's M changes in mean IoU cannot be told from
# nothing.

forest(stages["finetune"], ["miou", "depth_edge_accuracy", "calibration_error"], "sd")
plt.show()
