"""Checks of a loss compiled, copied, in low precision, and as a guest of the process."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from .._compare import tensor_difference
from .._compilation import require_compiler, require_no_readback, trace
from .._criterion import Inputs, LossProbe
from .._inputs import Scene, loss_batches
from .._property import breach, for_all, scenario
from .._registry import loss_check
from .loss_values import scenes, value_and_gradients
from .side_effects import GLOBAL_STATE, changed_state

# The most digits that a result in each dtype can be asked for.
AGREEMENT = {torch.bfloat16: 2e-2, torch.float16: 5e-3}
# Past 65,504 pixels, the largest float16,
# and with more than 2,048 to each of 8 by 8 cells, where adding 1 to a float16 ends.
LARGE = (368, 384)


@loss_check(
    "counts or sums in the dtype of the scores (float16 ends at 65,504, bfloat16 counts to 256), "
    "two dtypes in one scatter or index_add, or an epsilon that half precision rounds to 0"
)
def check_low_precision(probe: LossProbe) -> None:
    """With bfloat16 and float16 scores, and under autocast, a loss is what it is in float32.

    On images of more pixels than float16 can count. The scores are rounded first, so that only
    the arithmetic differs.

    Example:
        >>> check_low_precision(torch.nn.CrossEntropyLoss(reduction="none"))
    """
    probe.ready()
    small = probe.scene(size=(24, 24))
    for dtype, tolerance in AGREEMENT.items():
        large = probe.scene(images=1, size=LARGE, missing=0.1, depth="20 + 0 * {uniform}")
        for scene in (small, large):
            _agrees_in(probe, scene, dtype, tolerance, autocast=False)
        _agrees_in(probe, small, dtype, tolerance, autocast=True)


def _agrees_in(
    probe: LossProbe, scene: Scene, dtype: torch.dtype, tolerance: float, *, autocast: bool
) -> None:
    device = probe.device.type
    call = "value = {call}"
    if autocast:
        call = f"with torch.autocast({device!r}, {dtype}):\n    value = {{call}}"
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
        expected, _ = value_and_gradients(probe, probe.copy(), wide)
        with torch.autocast(device, dtype, enabled=autocast):
            value, grads = value_and_gradients(probe, probe.copy(), half)
        setting = f"{'under autocast' if autocast else 'with scores'} in {dtype}"
        if not bool(expected.isfinite().all()):
            return  # not for want of precision
        if not bool(value.isfinite().all()):
            size = tuple(scene["target"].shape[1:])
            breach(f"a loss that is not finite {setting} for an image of {size}")
        found = tensor_difference("the loss", value.float(), expected, tolerance)
        if found:
            breach(f"{setting} {found}")
        for name, grad in zip(("logits", "pred_depth"), grads):
            if not bool(grad.isfinite().all()):
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


@loss_check(
    "a lock, a file or a generator kept as an attribute, or a tensor of the last call kept with its "
    "graph"
)
def check_loss_deep_copy(probe: LossProbe) -> None:
    """A deep copy of a loss gives what the loss gives, after a call too.

    Example:
        >>> check_loss_deep_copy(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    scene = probe.scene()
    after = (
        "logits.requires_grad_()\n{call}\ntwin = copy.deepcopy(criterion)\nexpected = {call}\n"
        "criterion = twin\nfound = {call}\n"
        "assert torch.allclose(found, expected)"
    )
    with scenario(probe.code(scene, after)):
        original: Any = copy.deepcopy(probe.criterion)
        value_and_gradients(probe, original, probe.inputs(scene))
        twin = copy.deepcopy(original)
        expected, _ = value_and_gradients(probe, original, probe.inputs(scene))
        found, _ = value_and_gradients(probe, twin, probe.inputs(scene))
        words = tensor_difference("the loss", found, expected, 1e-6)
        if words:
            breach(f"from the copy {words}")


@loss_check(
    "an assignment into the labels (target[target == 255] = 0), a clamp_ or a masked_fill_ on "
    "depth or scores"
)
def check_loss_inputs_are_not_modified(probe: LossProbe) -> None:
    """A loss does not write to its inputs.

    Example:
        >>> check_loss_inputs_are_not_modified(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    after = (
        "inputs = logits, target, pred_depth, target_depth\n"
        "before = [x.clone() for x in inputs]\n"
        "{call}\n"
        "for x, y in zip(inputs, before):\n"
        "    assert torch.equal(x.nan_to_num(), y.nan_to_num())"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            # Without gradients, for autograd would refuse some of the writing with other words.
            inputs = probe.inputs(scene, grad=False)
            before = [tensor.clone() for tensor in (*inputs[:4], *inputs.side_logits)]
            with torch.no_grad():
                probe.call(probe.copy(), inputs)
            names = ["logits", "target", "pred_depth", "target_depth"]
            names += [f"side_logits[{k}]" for k in range(len(inputs.side_logits))]
            now = (*inputs[:4], *inputs.side_logits)
            for name, old, new in zip(names, before, now):
                if tensor_difference(name, new, old, 0.0):
                    breach(f"{name} was overwritten")

    for_all(loss_batches(probe.settings), hold, probe.effort, scenes(probe))


@loss_check(
    "something counted, averaged or cached from call to call, a curriculum that a forward moves on, "
    "or a random draw of pixels"
)
def check_loss_is_deterministic(probe: LossProbe) -> None:
    """Two calls on the same batch are equal, whatever came between and whatever the random state.

    Example:
        >>> check_loss_is_deterministic(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    first, other = probe.scene(seed=0), probe.scene(seed=10, size=(9, 5))
    after = (
        "first = {call}\n"
        "kept = logits, target, pred_depth, target_depth\n"
        "logits, target, pred_depth, target_depth = (x.flip(-1) for x in kept)\n"
        "{call}\n"
        "logits, target, pred_depth, target_depth = kept\n"
        "torch.manual_seed(1)\n"
        "again = {call}\n"
        "assert torch.allclose(again, first, equal_nan=True)"
    )
    with scenario(probe.code(first, after)):
        criterion = probe.copy()
        value, grads = value_and_gradients(probe, criterion, probe.inputs(first))
        value_and_gradients(probe, criterion, probe.inputs(other))
        again, grads_again = value_and_gradients(probe, criterion, probe.inputs(first), seed=1)
        found = tensor_difference("the loss", again, value, 1e-6)
        found = found or tensor_difference("the gradient", grads_again[0], grads[0], 1e-5)
        if found:
            breach(f"when the first batch comes again {found}")


@loss_check(
    "torch.set_grad_enabled called for good in place of torch.no_grad() as a context, "
    "torch.manual_seed, or another default dtype"
)
def check_loss_keeps_global_state(probe: LossProbe) -> None:
    """A loss leaves gradient mode, default dtype and random seeds of the process alone.

    Example:
        >>> check_loss_keeps_global_state(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    scene = probe.scene()
    with scenario(probe.code(scene, GLOBAL_STATE)):
        found = changed_state(partial(probe.call, probe.copy(), probe.inputs(scene)))
        if found:
            breach(f"a call {found}")
