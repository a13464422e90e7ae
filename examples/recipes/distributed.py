"""Several GPUs without a framework: `torchrun --nproc-per-node 2 -m examples.recipes.distributed`.

`--fsdp` shards the parameters (FSDP2) in place of copying them (DDP). Both average gradients over the
processes, so the divisor is the mean number of labelled pixels of a process: `global_normalizers`.
Without it a process whose images have few labels counts too much.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import lwm_loss as lwm
from examples.recipes.small import VOID, SmallData, SmallNetwork, mining_loss


def main(argv: Sequence[str] | None = None) -> None:
    """Train on every process that torchrun has started."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(argv)

    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", rank % torch.cuda.device_count()) if cuda else torch.device("cpu")
    torch.manual_seed(0)
    network: nn.Module = SmallNetwork().to(device)
    if options.fsdp:
        from torch.distributed.fsdp import fully_shard  # torch 2.6 or later

        fully_shard(network, mesh=init_device_mesh(device.type, (world,)))
    else:
        network = DistributedDataParallel(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    curriculum = lwm.SelfPacedCurriculum(options.epochs)
    objective = mining_loss(curriculum).to(device)
    data = SmallData()
    sampler: DistributedSampler[dict[str, torch.Tensor]] = DistributedSampler(data)

    for epoch in range(options.epochs):
        sampler.set_epoch(epoch)
        curriculum.set_epoch(epoch)
        for batch in DataLoader(data, 2, sampler=sampler):
            image, label, depth = (batch[name].to(device) for name in ("image", "label", "depth"))
            n = lwm.global_normalizers(label, depth, ignore_index=VOID)
            logits, log_depth, _sides = network(image)
            terms = objective(
                logits,
                label,
                log_depth,
                depth,
                normalizer=n.normalizer,
                depth_normalizer=n.depth_normalizer,
            )
            optimiser.zero_grad()
            terms.total.backward()
            optimiser.step()
        loss = terms.total.detach().clone()
        dist.all_reduce(loss)  # after global_normalizers the mean over processes is the true mean
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {float(loss) / world:.3f} on {world} processes")
    del network
    gc.collect()  # DDP must not outlive the group: https://github.com/pytorch/pytorch/issues/56297
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
