"""Lightning: `python -m examples.recipes.lightning_module`.

Install it by hand: `pip install "lightning>=2.6.6"`. 2.6.2 and 2.6.3 were malicious releases, and up to
2.6.5 loading a checkpoint could run code of its author; 2.6.6 fixes that.

The trap: nothing moves the curriculum on by itself, and a counter of one's own is lost on resuming.
`CurriculumCallback` sets it from the trainer's epoch. As a submodule of the LightningModule it is in
every checkpoint as well.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import lwm_loss as lwm
from examples.recipes.small import SmallData, SmallNetwork, mining_loss
from lwm_loss.integrations.lightning import CurriculumCallback


class MiningModule(L.LightningModule):
    """A network and the objective that trains it."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.network = SmallNetwork()
        self.curriculum = lwm.SelfPacedCurriculum(epochs)
        self.objective = mining_loss(self.curriculum)

    def forward(self, image: Tensor) -> Tensor:
        """Predict scores from colour alone."""
        logits: Tensor = self.network(image).logits
        return logits

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Compute the objective, and log its terms."""
        logits, log_depth, _sides = self.network(batch["image"])
        terms = self.objective(logits, batch["label"], log_depth, batch["depth"])
        self.log_dict({f"loss/{name}": value for name, value in terms.scalars().items()})
        return terms.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use plain SGD."""
        return torch.optim.SGD(self.network.parameters(), lr=0.1)


def train(folder: str, epochs: int = 2, **options: Any) -> MiningModule:
    """Train on the tiny data set; `ckpt_path=...` goes on from a checkpoint."""
    module = MiningModule(epochs)
    trainer = L.Trainer(
        max_epochs=options.pop("stop_after", epochs),
        default_root_dir=folder,
        callbacks=[CurriculumCallback(module.curriculum)],
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(SmallData(), 4), **options)
    return module


if __name__ == "__main__":
    train("runs/lightning")
