"""MONAI `SupervisedTrainer`: `python -m examples.recipes.monai_trainer`.

Two traps. MONAI hands a loss `(prediction, label)` and nothing else, so depth travels with the label.
MONAI's labels have a channel, (B, 1, H, W), which is taken off here. For volumes nothing changes.
"""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lwm_loss as lwm
from examples.recipes.small import SmallData, SmallNetwork, mining_loss


class MonaiLoss(nn.Module):
    """The objective behind MONAI's signature."""

    def __init__(self, objective: lwm.HardPixelMiningLoss) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, prediction: tuple[Tensor, Tensor, Any], truth: dict[str, Tensor]) -> Tensor:
        """Compute the total."""
        logits, log_depth, _sides = prediction
        label, depth = truth["label"].squeeze(1), truth["depth"].squeeze(1)
        total: Tensor = self.objective(logits, label, log_depth, depth).total
        return total


def prepare_batch(batch: dict[str, Tensor], device: Any, non_blocking: bool, **_: Any) -> Any:
    """Split a batch into what the network sees and what the loss sees."""
    moved = {name: each.to(device, non_blocking=non_blocking) for name, each in batch.items()}
    truth = {name: moved[name].unsqueeze(1) for name in ("label", "depth")}  # MONAI's channel
    return moved["image"], truth


def train(epochs: int = 2) -> list[float]:
    """Train, and return the loss of each iteration."""
    torch.manual_seed(0)
    network, curriculum = SmallNetwork(), lwm.SelfPacedCurriculum(epochs)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(SmallData(), 4),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=MonaiLoss(mining_loss(curriculum)),
        prepare_batch=prepare_batch,
        decollate=False,
    )
    losses: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"]))
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: curriculum.step())
    trainer.run()
    return losses


if __name__ == "__main__":
    print(train())
