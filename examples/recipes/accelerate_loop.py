"""accelerate, with gradient accumulation: `accelerate launch -m examples.recipes.accelerate_loop`.

The trap: a mean of means is not the mean. `global_normalizers` counts the pixels of all micro-batches
of a step, over all processes; `accelerator.backward` divides by the number of micro-batches, so the
loss is multiplied by it first.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import lwm_loss as lwm
from examples.recipes.small import VOID, SmallData, SmallNetwork, mining_loss


def train(epochs: int = 2, accumulate: int = 2, batch_size: int = 2) -> list[float]:
    """Train, and return the loss of each step."""
    accelerator = Accelerator(gradient_accumulation_steps=accumulate)
    torch.manual_seed(0)
    network = SmallNetwork()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    curriculum = lwm.SelfPacedCurriculum(epochs)
    objective = mining_loss(curriculum).to(accelerator.device)
    network, optimiser, loader = accelerator.prepare(
        network, optimiser, DataLoader(SmallData(), batch_size, shuffle=True)
    )
    accelerator.register_for_checkpointing(curriculum)  # save_state and load_state keep the epoch
    losses = []
    for _ in range(epochs):
        batches = list(loader)
        for start in range(0, len(batches), accumulate):
            parts = batches[start : start + accumulate]
            n = lwm.global_normalizers(
                [part["label"] for part in parts],
                [part["depth"] for part in parts],
                ignore_index=VOID,
            )
            step = 0.0
            for part in parts:
                with accelerator.accumulate(network):
                    logits, log_depth, _sides = network(part["image"])
                    terms = objective(
                        logits,
                        part["label"],
                        log_depth,
                        part["depth"],
                        normalizer=n.normalizer,
                        depth_normalizer=n.depth_normalizer,
                    )
                    accelerator.backward(terms.total * accumulate)
                    optimiser.step()
                    optimiser.zero_grad()
                step += float(terms.total.detach())
            losses.append(step)
        curriculum.step()
    return losses


if __name__ == "__main__":
    print([round(loss, 3) for loss in train()])
