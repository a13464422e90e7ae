"""Checks of a loss in low precision and compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .._compare import tensor_difference
from .._compilation import require_compiler, require_no_readback, trace
from ..registry import loss_check
from ..scenes import Scene
from ..search import breach, scenario
from ..subjects.loss import Inputs, LossProbe
from .loss_values import require_no_chance, value_and_gradients

# The most digits that a result in each dtype can be asked for.
AGREEMENT = {torch.bfloat16: 2e-2, torch.float16: 5e-3}
# Past 65,504 pixels, the largest float16,
# and with more than 2,048 to each of 8 by 8 cells, where adding 1 to a float16 ends.
LARGE = (368, 384)


@loss_check(
    "counts or sums in the dtype of the scores (float16 ends at 65,504, bfloat16 counts to 256), "
    "two dtypes in one scatter or index_add, or an epsilon that half precision rounds to 0"
)
def check_low_precision(probe: LossProbe) -> str:
    """With bfloat16 and float16 scores, and under autocast, a loss is what it is in float32.

    On images of more pixels than float16 can count, and for scores whose probabilities it rounds
    to 0. The scores are rounded first, so that only the arithmetic differs. A sum that is itself
    more than the dtype of the result can hold may overflow; a mean may not. A loss with class
    weights may have to be brought to the dtype of the scores; that is a remark.

    Example:
        >>> check_low_precision(torch.nn.CrossEntropyLoss(reduction="none"))
    """
    probe.ready()
    require_no_chance(probe)
    small = probe.scene(size=(24, 24))
    certain = _certain(probe)
    converted = False
    for dtype, tolerance in AGREEMENT.items():
        large = probe.scene(images=1, size=LARGE, missing=0.1, depth="20 + 0 * {uniform}")
        convert = _wants_its_weights_in(probe, small, dtype)
        converted = converted or convert
        for scene in (small, certain, large):
            _agrees_in(probe, scene, dtype, tolerance, convert=convert)
        _agrees_in(probe, small, dtype, tolerance, autocast=True)
    return "half precision scores need criterion.to(logits.dtype) first" if converted else ""


def _certain(probe: LossProbe) -> Scene:
    """Scores of up to some 90, where a probability below 6e-8 is 0 in float16."""
    scene = probe.scene(size=(6, 8), missing=0.0)
    scene.values["logits"] = 12 * scene["logits"]
    scene.code += "\nlogits = 12 * logits"
    if probe.num_sides:
        scene.code += "\nside_logits = [12 * side for side in side_logits]"
        scene.values["side_logits"] = [12 * side for side in scene.sides()]
    return scene


def _wants_its_weights_in(probe: LossProbe, scene: Scene, dtype: torch.dtype) -> bool:
    """Whether it runs on such scores only once its own tensors have been brought to their dtype."""
    criterion = probe.copy()
    if not isinstance(criterion, nn.Module) or not any(
        tensor.is_floating_point() for tensor in (*criterion.parameters(), *criterion.buffers())
    ):
        return False
    for convert in (False, True):
        try:
            inputs = probe.inputs(scene, dtype=dtype)
            value_and_gradients(probe, criterion.to(dtype) if convert else criterion, inputs)
        except Exception:
            continue
        return convert
    return False


def _agrees_in(
    probe: LossProbe,
    scene: Scene,
    dtype: torch.dtype,
    tolerance: float,
    *,
    autocast: bool = False,
    convert: bool = False,
) -> None:
    device = probe.device.type
    call = "value = {call}"
    if autocast:
        call = f"with torch.autocast({device!r}, {dtype}):\n    value = {{call}}"
    if convert:
        call = (
            "wide = criterion\n"
            f"criterion = copy.deepcopy(criterion).to({dtype})\n{call}\ncriterion = wide"
        )
    after = (
        f"logits, pred_depth = logits.to({dtype}), pred_depth.to({dtype})\n"
        + (f"side_logits = [x.to({dtype}) for x in side_logits]\n" if probe.num_sides else "")
        + f"{call}\n"
        "logits, pred_depth = logits.float(), pred_depth.float()\n"
        + ("side_logits = [x.float() for x in side_logits]\n" if probe.num_sides else "")
        + "expected = {call}\n"
        f"assert torch.allclose(value.float(), expected, rtol={tolerance}, atol={tolerance})"
    )
    with scenario(probe.code(scene, after)):
        half = probe.inputs(scene, dtype=dtype)
        wide = _widened(half)
        expected, wide_grads = value_and_gradients(probe, probe.copy(), wide)
        with torch.autocast(device, dtype, enabled=autocast):
            criterion = probe.copy().to(dtype) if convert else probe.copy()
            value, grads = value_and_gradients(probe, criterion, half)
        setting = f"{'under autocast' if autocast else 'with scores'} in {dtype}"
        if not (expected.is_floating_point() and bool(expected.isfinite().all())):
            return  # not for want of precision
        if float(expected.abs().max()) > torch.finfo(value.dtype).max:
            return  # no arithmetic could have helped
        if not bool(value.isfinite().all()):
            size, largest = tuple(scene["target"].shape[1:]), float(half.logits.abs().max())
            breach(
                f"a loss that is not finite {setting}, for scores of up to {largest:.0f} and an image "
                f"of {size}"
            )
        found = tensor_difference("the loss", value.float(), expected, tolerance)
        if found:
            breach(f"{setting} {found}")
        for name, grad, wide_grad in zip(("logits", "pred_depth"), grads, wide_grads):
            if bool(wide_grad.isfinite().all()) and not bool(grad.isfinite().all()):
                breach(f"{setting} the gradient of {name} is not finite")


def _widened(inputs: Inputs) -> Inputs:
    def wide(tensor: Tensor) -> Tensor:
        return tensor.detach().float().requires_grad_()

    return inputs._replace(
        logits=wide(inputs.logits),
        pred_depth=wide(inputs.pred_depth),
        side_logits=[wide(side) for side in inputs.side_logits],
    )


@loss_check(
    "boolean indexing, nonzero, unique or bincount, .item() or a Python branch on tensor values, "
    "numpy, or a loop over the labels that are there"
)
def check_loss_torch_compile(probe: LossProbe) -> None:
    """Compiled (aot_eager, fullgraph) a loss and its gradients equal themselves, in one graph.

    With ignored pixels and missing depth. Nor may it read values back from a tensor or index by
    them, which would stall a device. The compiled code of the whole process is forgotten.

    Example:
        >>> check_loss_torch_compile(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    require_compiler()
    scene = probe.scene()
    after = (
        "expected = {call}\n"
        "torch._dynamo.reset()\n"
        'criterion = torch.compile(criterion, backend="aot_eager", fullgraph=True)\n'
        "found = {call}\n"
        "assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)\n"
        "with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as fake:\n"
        "    logits, target, pred_depth, target_depth = (\n"
        "        fake.from_tensor(x) for x in (logits, target, pred_depth, target_depth))\n"
        + (
            "    side_logits = [fake.from_tensor(x) for x in side_logits]\n"
            if probe.num_sides
            else ""
        )
        + "    {call}"
    )
    with scenario(probe.code(scene, after)):
        expected, grads = value_and_gradients(probe, probe.copy(), probe.inputs(scene))
        with trace(probe.copy(), "aot_eager") as compiled:
            value, found_grads = value_and_gradients(probe, compiled, probe.inputs(scene))
        require_no_readback(partial(_on_fake_tensors, probe, probe.copy(), probe.inputs(scene)))
        found = tensor_difference("the loss", value, expected, 1e-4)
        for name, now, before in zip(("logits", "pred_depth"), found_grads, grads):
            words = f"the gradient of {name}"
            found = found or tensor_difference(words, now, before, 1e-4)
        if found:
            breach(f"compiled, {found}")


def _on_fake_tensors(
    probe: LossProbe, criterion: Any, inputs: Inputs, mode: FakeTensorMode
) -> None:
    *tensors, sides = inputs
    fake: list[Any] = [mode.from_tensor(tensor) for tensor in tensors]
    probe.call(criterion, Inputs._make([*fake, [mode.from_tensor(side) for side in sides]]))
