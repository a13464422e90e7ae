"""Checks of a backbone in low precision and compiled."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .._compare import difference
from .._compilation import require_compiler, require_no_readback, trace
from ..mining_loss import LOSS, mining_loss, truth
from ..registry import backbone_check
from ..scenes import Picture, pictures
from ..search import breach, for_all, scenario
from ..subjects.network import BackboneProbe, parts
from .outputs import not_finite


@backbone_check(
    "two dtypes in one operation that autocast does not know (index_add, scatter, an assignment to "
    "a slice, a custom function), a .half(), an epsilon that bfloat16 rounds away, or a sum that "
    "float16 cannot hold"
)
def check_bfloat16_autocast(probe: BackboneProbe) -> None:
    """Under bfloat16 autocast a network runs, and outputs and gradients are finite.

    Example:
        >>> check_bfloat16_autocast(torch.nn.Conv2d(3, 5, 1))
    """
    facts = truth(probe.require_output().logits)
    device = probe.device.type
    statement = (
        f"with torch.autocast({device!r}, torch.bfloat16):\n"
        "    output = MultiTaskOutput.of(model(image))\n"
        "    loss = mining_loss(output, target, depth)\n"
        "for part in (output.logits, output.log_depth, *output.side_logits):\n"
        "    assert part is None or part.isfinite().all()\n"
        "if loss.requires_grad:\n"
        "    loss.backward()\n"
        "for name, parameter in model.named_parameters():\n"
        "    assert parameter.grad is None or parameter.grad.isfinite().all(), name"
    )

    def hold(drawn: tuple[Picture, bool]) -> None:
        picture, train = drawn
        scene = probe.image(picture)
        code = probe.code(scene, facts, after=statement, train=train)
        with scenario(LOSS + code):
            plain = parts(probe.run(probe.fresh(train=train), scene["image"].clone()))
            if not_finite(plain):
                return  # check_finite_outputs says so
            model = probe.fresh(train=train)
            with torch.autocast(device, torch.bfloat16):
                output = probe.run(model, scene["image"].clone())
                loss = mining_loss(output, facts["target"], facts["depth"])
            found = not_finite(parts(output))
            if found:
                breach(f"{found} for an image of {picture.kind!r}")
            if not loss.requires_grad:
                return
            torch.autograd.backward(loss)
            grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            found = not_finite(grads)
            if found:
                breach(f"the gradient of {found} for an image of {picture.kind!r}")

    strategy = st.tuples(pictures(("noise", "bright", "bytes", "black")), st.booleans())
    corners = [(Picture(kind), train) for kind in ("noise", "bytes") for train in (False, True)]
    for_all(strategy, hold, probe.effort, corners)


@backbone_check(
    "a Python branch or loop on tensor values, .item(), .tolist(), float(tensor) or numpy in "
    "forward, print or a logger, boolean indexing, or a value kept from the first call"
)
def check_torch_compile(probe: BackboneProbe) -> None:
    """Compiled (aot_eager, fullgraph) a network equals itself, without a graph break.

    In evaluation outputs are compared; in training the forward must be one graph too. Nor may a
    forward read values back from a tensor, which would stall a device. A forward in plain torch
    comes first. Compiled code of the whole process is forgotten (torch._dynamo.reset).

    Example:
        >>> check_torch_compile(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    require_compiler()
    scene = probe.image()
    statement = (
        "torch._dynamo.reset()\n"
        "with torch.no_grad():\n"
        "    expected = MultiTaskOutput.of(model(image)).logits\n"
        '    compiled = torch.compile(model, backend="{backend}", fullgraph=True)\n'
        "    torch.manual_seed(0)\n"
        "    found = MultiTaskOutput.of(compiled(image)).logits\n"
        "    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as fake:\n"
        "        model(fake.from_tensor(image))"
    )
    compared = "\nassert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))"
    for train, backend in ((False, "aot_eager"), (True, "eager")):
        code = statement.format(backend=backend) + ("" if train else compared)
        with scenario(probe.code(scene, after=code, train=train)), torch.no_grad():
            model = probe.fresh(train=train)
            # The first call of a network may prepare what later calls rely on.
            expected = parts(probe.run(model, scene["image"].clone()))
            with trace(model, backend) as compiled:
                found = parts(probe.run(compiled, scene["image"].clone()))
            require_no_readback(partial(_on_fake_image, model, scene["image"]))
            if not train:
                words = difference(found, expected, 1e-4)
                if words:
                    breach(f"compiled, {words}")


def _on_fake_image(model: nn.Module, image: torch.Tensor, mode: FakeTensorMode) -> None:
    model(mode.from_tensor(image.clone()))
