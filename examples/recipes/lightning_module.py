"""Lightning: `python -m examples.recipes.lightning_module`.

Install it by hand: `pip install "lightning>=2.6.6"`. 2.6.2 and 2.6.3 were malicious releases, and up to
2.6.5 loading a checkpoint could run code of its author; 2.6.6 fixes that.

The trap: a curriculum that is a plain attribute of a callback is not saved. As a submodule of the
LightningModule it is in every checkpoint, and a resumed run goes on where it was.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import lwm_loss as lwm
from examples.recipes.small import SmallData, SmallNetwork, mining_loss


class MiningModule(L.LightningModule):
    """A network and the objective that trains it."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.network = SmallNetwork()
        self.objective = mining_loss(lwm.SelfPacedCurriculum(epochs))

    def forward(self, image: Tensor) -> Tensor:
        """Predict scores from colour alone."""
        logits: Tensor = self.network(image).logits
        return logits

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Compute the objective, and log its terms."""
        logits, log_depth, _sides = self.network(batch["image"])
        terms = self.objective(logits, batch["label"], log_depth, batch["depth"])
        names = ("segmentation", "depth", "hard")
        self.log_dict({f"loss/{name}": getattr(terms, name) for name in names})
        return terms.total

    def on_train_epoch_start(self) -> None:
        """Set the curriculum from the trainer's epoch, which a resumed run has as well."""
        if self.objective.curriculum is not None:
            self.objective.curriculum.set_epoch(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use plain SGD."""
        return torch.optim.SGD(self.network.parameters(), lr=0.1)


def train(folder: str, epochs: int = 2, **options: Any) -> MiningModule:
    """Train on the tiny data set; `ckpt_path=...` goes on from a checkpoint."""
    module = MiningModule(epochs)
    trainer = L.Trainer(
        max_epochs=options.pop("stop_after", epochs),
        default_root_dir=folder,
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(SmallData(), 4), **options)
    return module


if __name__ == "__main__":
    train("runs/lightning")
