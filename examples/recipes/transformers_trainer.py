"""transformers `Trainer` with SegFormer: `python -m examples.recipes.transformers_trainer`.

Three traps. `remove_unused_columns` drops the depth, since the network's `forward` does not name it.
SegFormer's scores have a quarter of the image's size: `upsample_logits=True`. `num_items_in_batch`
counts void pixels as items, so the divisor is counted here.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    Trainer,
    TrainingArguments,
)

import lwm_loss as lwm
from examples.recipes.small import CLASSES, VOID, SmallData
from lwm_loss.integrations.transformers import CurriculumCallback


class DepthSegformer(nn.Module):
    """SegFormer with one more channel, which is log-depth."""

    def __init__(self, config: SegformerConfig) -> None:
        super().__init__()
        # To start from ImageNet: SegformerForSemanticSegmentation.from_pretrained(..., config=config)
        config.num_labels = (config.num_labels or 0) + 1
        self.segformer = SegformerForSemanticSegmentation(config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Scores and log-depth (B, C + 1, H / 4, W / 4)."""
        logits: Tensor = self.segformer(pixel_values=pixel_values).logits
        return logits


class MiningTrainer(Trainer):
    """A Trainer whose loss mines hard pixels."""

    def __init__(self, *args: Any, objective: lwm.HardPixelMiningLoss, **options: Any) -> None:
        super().__init__(*args, **options)
        self.objective: lwm.HardPixelMiningLoss = objective.to(self.args.device)
        self.model_accepts_loss_kwargs = False  # each micro-batch is a mean of its own

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # counts void pixels too: unused
    ) -> Tensor | tuple[Tensor, Any]:
        """Compute the objective from the dict that `collate` made."""
        output = model(inputs["pixel_values"])
        terms = self.objective(output[:, :-1], inputs["labels"], output[:, -1:], inputs["depth"])
        return (terms.total, {"logits": output[:, :-1]}) if return_outputs else terms.total


def collate(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Name the tensors as the Trainer and the network call them."""
    names = {"image": "pixel_values", "label": "labels", "depth": "depth"}
    return {new: torch.stack([s[old] for s in samples]) for old, new in names.items()}


def build_trainer(folder: str, epochs: int = 2, **options: Any) -> MiningTrainer:
    """Build the trainer of this recipe, with a SegFormer small enough for a CPU."""
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    )
    config.num_labels = CLASSES
    curriculum = lwm.SelfPacedCurriculum(epochs)
    objective = lwm.HardPixelMiningLoss(
        num_sides=0, curriculum=curriculum, ignore_index=VOID, upsample_logits=True
    )
    arguments = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        remove_unused_columns=False,  # or the depth is gone
        save_strategy="epoch",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        **options,
    )
    return MiningTrainer(
        DepthSegformer(config),
        arguments,
        train_dataset=SmallData(8),
        data_collator=collate,
        callbacks=[CurriculumCallback(curriculum)],
        objective=objective,
    )


def main() -> None:
    """Train; `--resume` goes on from the last checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", default="runs/transformers")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    build_trainer(options.output).train(resume_from_checkpoint=options.resume)


if __name__ == "__main__":
    main()
