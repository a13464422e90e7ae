"""Log the terms and the weight maps to TensorBoard, Weights & Biases or MLflow.

Run it by `python -m examples.recipes.logging_terms`.

All terms but `total` are detached, so they are safe to keep; `scalars()` gives them as a dict. The trap:
`float(term)` makes the host wait for the device, so do it every n steps and not in each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

import lwm_loss as lwm
from examples.recipes.small import SmallData, SmallNetwork, mining_loss
from lwm_loss.plotting import plot_weight_maps

Log = Callable[[Mapping[str, float], Figure | None, int], None]


def to_tensorboard(folder: str) -> Log:
    """Log to TensorBoard event files."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(folder)

    def log(scalars: Mapping[str, float], figure: Figure | None, step: int) -> None:
        for name, value in scalars.items():
            writer.add_scalar(name, value, step)
        if figure is not None:
            writer.add_figure("weights", figure, step)
        writer.flush()

    return log


def to_wandb(project: str, **options: Any) -> Log:
    """Log to Weights & Biases."""
    import wandb

    run = wandb.init(project=project, **options)

    def log(scalars: Mapping[str, float], figure: Figure | None, step: int) -> None:
        picture = {} if figure is None else {"weights": wandb.Image(figure)}
        run.log({**scalars, **picture}, step=step)

    return log


def to_mlflow() -> Log:
    """Log to the active MLflow run."""
    import mlflow

    def log(scalars: Mapping[str, float], figure: Figure | None, step: int) -> None:
        mlflow.log_metrics(dict(scalars), step=step)
        if figure is not None:
            mlflow.log_figure(figure, f"weights-{step:06}.png")

    return log


def train(log: Log, steps: int = 4, every: int = 2) -> None:
    """Train for a few steps, and log every n-th."""
    torch.manual_seed(0)
    network, objective = SmallNetwork(), mining_loss()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    weighting = objective.weighting
    assert isinstance(weighting, lwm.LossWeightModule)
    for step, batch in zip(range(steps), DataLoader(SmallData(16), 4)):
        logits, log_depth, _sides = network(batch["image"])
        terms = objective(logits, batch["label"], log_depth, batch["depth"])
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        if step % every == 0:
            scalars = {f"loss/{name}": float(value) for name, value in terms.scalars().items()}
            image, label, depth = batch["image"], batch["label"], batch["depth"]
            figure = plot_weight_maps(image, label, logits, log_depth, depth, weighting)
            log(scalars, figure, step)


if __name__ == "__main__":
    train(to_tensorboard("runs/logging"))
