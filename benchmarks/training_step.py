"""Table 5: the share of the loss, and of its parts, in one training step of the R-50 network."""

from __future__ import annotations

import torch
from torch import Tensor

import lwm_loss as lwm
from benchmarks.batch import SIDE_STRIDES, VOID, Batch, Shape, make_batch
from benchmarks.losses import Loss, NotMeasuredError, half_way, objective, plain, step_of
from benchmarks.measure import Rival, race
from benchmarks.report import Table, milliseconds, percent
from benchmarks.tables import Setting
from lwm_loss._batch import BatchRules
from lwm_loss._pixels import map_dtype
from lwm_loss.cross_entropy import pixel_cross_entropy
from lwm_loss.depth_error import log_depth_gap

CLASSES = 40


def build(setting: Setting) -> torch.nn.Module:
    """The paper's network from random weights; a narrow one with --quick."""
    try:
        from examples.rgbd.networks import build_network
    except ImportError as error:
        raise NotMeasuredError(
            f"Table 5 was not measured: the example's network needs the extra `examples` ({error})."
        ) from error
    torch.manual_seed(0)
    width = 16 if setting.quick else None
    backbone = "resnet18" if setting.quick else "resnet50"
    network = build_network("refinenet", backbone, num_classes=CLASSES, width=width)
    return network.to(setting.device).train()


def parts_of(batch: Batch) -> list[Rival]:
    """What the mining adds to a cross-entropy, each part as often as one step runs it."""
    weighting = lwm.LossWeightModule(ignore_index=VOID)
    curriculum = half_way().to(batch.logits.device)
    dtype = map_dtype(batch.logits)
    with torch.no_grad():
        rules = BatchRules(VOID)
        checked = rules.check(batch.logits, batch.target, batch.log_depth, batch.depth)
        depth, known = checked.require_target_depth()
        gap = log_depth_gap(batch.log_depth, depth, known, True)
        shared = weighting._share(checked, gap)
        errors = [
            pixel_cross_entropy(scores, batch.target, ignore_index=VOID)[1]
            for scores in (batch.logits, *batch.sides)
        ]
        weights = [weighting._weigh(batch.logits, shared, wrong).weight for wrong in errors]

    def tables() -> list[Tensor]:
        return [shared.slots.error_rate(wrong, dtype) for wrong in errors]

    def thresholds() -> list[Tensor]:
        return [curriculum(weight, checked.labelled) for weight in weights]

    maps = len(errors)
    return [
        Rival("R, its maximum, and the regions", lambda: weighting._share(checked, gap)),
        Rival(f"region tables and Z, {maps} maps", tables),
        Rival(f"medians, thresholds and kept weights, {maps} maps", thresholds),
    ]


def table_5(setting: Setting) -> list[Table]:
    """One step is forward, loss, backward and SGD, with four side outputs and the curriculum."""
    network = build(setting)
    shape = Shape(4 if setting.device == "cuda" else 1, CLASSES, 480, 640)
    if setting.quick:
        shape = Shape(1, CLASSES, 64, 96)
    given = make_batch(shape, setting.device)
    images = torch.rand(shape.images, 3, shape.height, shape.width, device=setting.device)
    mined = objective(len(SIDE_STRIDES), setting.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def predict() -> Batch:
        out = network(images)
        return given._replace(
            logits=out.logits, log_depth=out.log_depth, sides=tuple(out.side_logits)
        )

    def step_with(loss: Loss) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss(predict()))
        optimizer.step()

    outputs = predict()
    outputs = outputs._replace(
        logits=outputs.logits.detach().requires_grad_(),
        log_depth=outputs.log_depth.detach().requires_grad_(),
        sides=tuple(side.detach().requires_grad_() for side in outputs.sides),
    )
    rivals = [
        Rival("the whole step", lambda: step_with(mined)),
        Rival("the whole step with F.cross_entropy + F.mse_loss", lambda: step_with(plain)),
        step_of("HardPixelMiningLoss with 4 sides", mined, outputs),
        step_of("F.cross_entropy + F.mse_loss", plain, outputs._replace(sides=())),
        *parts_of(outputs),
    ]
    results = race(rivals, setting.device, setting.effort, memory=False)
    step = results[0].seconds
    rows = [
        [result.name, milliseconds(result.seconds), milliseconds(result.iqr),
         percent(result.seconds / step)]
        for result in results
    ]  # fmt: skip
    backbone = "ResNet-18, narrow" if setting.quick else "ResNet-50"
    size = (shape.images, 3, shape.height, shape.width)
    title = f"Table 5. One training step, RefineNet with two decoders, {backbone}, images {size}"
    return [Table(title, ("part of a step", "time", "IQR", "of the step"), rows)]
