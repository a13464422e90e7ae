"""A loss in low precision and compiled."""

from __future__ import annotations

import torch
from torch import nn

from ..calls import Loss, LossInputs, copied
from ..compilation import compiled, expect_no_readback
from ..expect import breach, expect_finite, expect_same
from ..registry import loss_check
from ..scenes import Scene
from ..subjects.loss import LossProbe
from .loss_values import require_no_chance

# The most digits that a result in each dtype can be asked for.
AGREEMENT = {torch.bfloat16: 2e-2, torch.float16: 5e-3}
# Past 65,504 pixels, the largest float16,
# and with more than 2,048 to each of 8 by 8 cells, where adding 1 to a float16 ends.
LARGE = (368, 384)


@loss_check(
    "counts or sums in the dtype of the scores (float16 ends at 65,504, bfloat16 counts to 256), "
    "two dtypes in one scatter or index_add, or an epsilon that half precision rounds to 0",
    requires=require_no_chance,
)
def check_low_precision(probe: LossProbe) -> str:
    """With bfloat16 and float16 scores, and under autocast, a loss is what it is in float32.

    On images of more pixels than float16 can count, and for scores whose probabilities it rounds
    to 0. The scores are rounded first, so that only the arithmetic differs. A sum that is itself
    more than the dtype of the result can hold may overflow; a mean may not. A loss with class
    weights may have to be brought to the dtype of the scores; that is a remark.
    """
    small = probe.scene(size=(24, 24))
    # Scores of up to some 90, where a probability below 6e-8 is 0 in float16.
    certain = probe.scene(missing=0.0).code + "\nbatch = batch.scored(lambda x: 12 * x)"
    large = probe.scene(images=1, size=LARGE, missing=0.1, depth="20 + 0 * {uniform}")
    remarks = [""]
    for dtype in AGREEMENT:
        convert = _wants_its_weights_in(probe, small["batch"], dtype)
        if convert:
            remarks.append("half precision scores need criterion.to(logits.dtype) first")
        for scene in (small, Scene(certain), large):
            probe.check(halves_agree, scene, dtype=dtype, autocast=False, convert=convert)
        probe.check(halves_agree, small, dtype=dtype, autocast=True, convert=False)
    return remarks[-1]


def halves_agree(
    loss: Loss, batch: LossInputs, dtype: torch.dtype, autocast: bool, convert: bool
) -> None:
    """Compare a batch whose predictions are in half precision with the same numbers in float32."""
    half = batch.predicted(lambda x: x.to(dtype))
    expected = loss.results(half.predicted(lambda x: x.float()))
    narrow = loss.of(copied(loss.criterion).to(dtype)) if convert else loss
    with torch.autocast(batch.target.device.type, dtype, enabled=autocast):
        found = narrow.results(half)
    setting = f"{'under autocast' if autocast else 'with scores'} in {dtype}"
    wide, value = expected.pop("the loss"), found.pop("the loss")
    if not (wide.is_floating_point() and bool(wide.isfinite().all())):
        return  # not for want of precision
    if float(wide.abs().max()) > torch.finfo(value.dtype).max:
        return  # no arithmetic could have helped
    if not bool(value.isfinite().all()):
        size, largest = tuple(batch.target.shape[1:]), float(half.logits.abs().max())
        breach(
            f"a loss that is not finite {setting}, for scores of up to {largest:.0f} and an image "
            f"of {size}"
        )
    tolerance = AGREEMENT[dtype]
    expect_same({"the loss": value.float()}, {"the loss": wide}, tolerance, f"{setting} {{}}")
    for name, grad in expected.items():
        if bool(grad.isfinite().all()):
            expect_finite({name: found[name]}, f"{setting} {{}}")


def _wants_its_weights_in(probe: LossProbe, batch: LossInputs, dtype: torch.dtype) -> bool:
    """Whether it runs on such scores only once its own tensors have been brought to their dtype."""
    criterion = copied(probe.criterion)
    if not isinstance(criterion, nn.Module) or not any(
        tensor.is_floating_point() for tensor in (*criterion.parameters(), *criterion.buffers())
    ):
        return False
    half = batch.predicted(lambda x: x.to(dtype))
    for convert in (False, True):
        try:
            probe.loss.of(criterion.to(dtype) if convert else criterion).results(half)
        except Exception:
            continue
        return convert
    return False


@loss_check(
    "boolean indexing, nonzero, unique or bincount, .item() or a Python branch on tensor values, "
    "numpy, or a loop over the labels that are there",
    run=LossProbe.check,
)
def check_loss_torch_compile(loss: Loss, batch: LossInputs) -> None:
    """Compiled (aot_eager, fullgraph) a loss and its gradients equal themselves, in one graph.

    With ignored pixels and missing depth. Nor may it read values back from a tensor or index by
    them, which would stall a device. The compiled code of the whole process is forgotten.
    """
    expected = loss.results(batch)
    with compiled(copied(loss.criterion), "aot_eager") as fast:
        found = loss.of(fast).results(batch, copies=False)
    leaves, again = batch.differentiable(), loss.copied()
    expect_no_readback(lambda fake: again(leaves.mapped(fake)))
    expect_same(found, expected, 1e-4, "compiled, {}")
