"""What a backbone returns: shapes, dtypes, and finite values."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ..calls import outputs, parts, run
from ..expect import Breach, CheckSkipped, breach, expect_finite
from ..registry import backbone_check
from ..reproduction import raised
from ..subjects.network import BackboneProbe


@backbone_check(
    "strides and poolings that round down, an upsampling by a factor in place of to a size, "
    "skip connections that differ by a pixel, a squeeze() that also drops a batch of one, a "
    "reshape with height and width swapped, or logits left at the stride of the decoder (upsample "
    'them, or pass resize="bilinear")',
    example="torch.nn.Conv2d(3, 5, 1), num_classes=5",
    requires=None,
)
def check_output_shapes(probe: BackboneProbe) -> str:
    r"""Logits are (B, C, H, W), log-depth (B, H, W) or (B, 1, H, W), side outputs (B, C, h, w).

    At the given size and at larger ones that neither strides nor cells divide, at a batch of one
    too, in training and evaluation. ``resize`` brings logits and log-depth to the image's size. A
    batch norm that refuses to learn from one value (of a pooled feature, at a batch of one) is a
    remark: training then needs ``drop_last``.
    """
    height, width = probe.image_size
    square = height == width
    classes = probe.expected_classes
    runs_at: tuple[int, int] | None = probe.image_size
    if isinstance(probe.eval_output, Exception):
        runs_at = probe.size_that_runs()
        if runs_at is None:
            probe.require_run()  # skips
    elif classes is None and probe.eval_output.logits.ndim > 1:
        classes = probe.eval_output.logits.shape[1]
    remarks: list[str] = []

    def hold(batch: int, taller: int, wider: int, train: bool) -> None:
        size = (height + taller, width + wider)
        # It may refuse what is not square if it was given square images to run on.
        may_refuse = square and size[0] != size[1]
        told = None if train or may_refuse or runs_at == probe.image_size else runs_at
        image = probe.image(batch=batch, size=size)
        try:
            probe.check(
                shapes_fit, image, train=train, must_run=False, classes=classes, runs_at=told
            )
        except Breach as error:
            if train and batch == 1 and _ONE_VALUE in str(error.__cause__):
                remarks.append("training on a single image fails in a batch norm")
            elif error.__cause__ is None or not may_refuse:
                raise

    odd = [(1 - height % 2, 1 - width % 2), (3 + height % 2, 5 + width % 2)]
    if square:
        odd.append((1 - height % 2 + 2, 1 - height % 2 + 2))
    corners = [(2, 0, 0, False), (1, 0, 0, False), (2, 0, 0, True)]
    corners += [(batch, *grown, False) for batch in (1, 2) for grown in odd]
    corners += [(2, *odd[-1], True), (1, *odd[0], True)]
    grow = st.integers(0, 17)
    probe.for_all(hold, st.integers(1, 3), grow, grow, st.booleans(), corners=corners)
    return remarks[0] if remarks else ""


# What batch norm says of a batch in which a channel has one value.
_ONE_VALUE = "Expected more than 1 value per channel"


def shapes_fit(
    model: nn.Module, image: Tensor, classes: int | None, runs_at: tuple[int, int] | None
) -> None:
    """Compare the shapes of all outputs with those of the image."""
    try:
        output = run(model, image)
    except Exception as error:
        if runs_at is None:
            raise
        breach(
            f"{raised(error)}; it does run on images of {runs_at}: pass image_size={runs_at} if "
            "that is its size"
        )
    batch, _, *size = image.shape
    channels = "C" if classes is None else classes
    expected = {"logits": [(batch, channels, *size)]}
    expected["log_depth"] = [(batch, *size), (batch, 1, *size)]
    for name, part in parts(output).items():
        shapes = expected.get(name, [(batch, output.logits.shape[1], "h", "w")])
        if not any(_fits(part.shape, shape) for shape in shapes):
            wanted = " or ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
            at_stride = name == "logits" and part.ndim == 4 and part.shape[2:] != image.shape[2:]
            hint = " (are they to be upsampled to the image's size?)" if at_stride else ""
            breach(
                f"{name} of shape {tuple(part.shape)} in place of {wanted}{hint} for an image of "
                f"{tuple(image.shape)} in {'training' if model.training else 'evaluation'}"
            )


def _fits(shape: torch.Size, expected: tuple[int | str, ...]) -> bool:
    return len(shape) == len(expected) and all(
        found > 0 if isinstance(wanted, str) else found == wanted
        for found, wanted in zip(shape, expected)
    )


@backbone_check(
    "an argmax in forward, a .float(), .double() or .half() on an output, or a "
    "constant of another dtype that widens what it touches",
    requires=BackboneProbe.require_run,
    run=BackboneProbe.in_both_modes,
)
def check_output_dtypes(model: nn.Module, image: Tensor) -> None:
    """Every output has the floating point dtype of the network, in training and evaluation."""
    for name, part in parts(run(model, image)).items():
        if part.dtype != image.dtype:  # which is the network's
            breach(f"{name} of dtype {part.dtype} in place of {image.dtype}")


@backbone_check(
    "a softmax, a sigmoid or a ReLU as the last layer, often in evaluation alone: the loss applies "
    "its own, and what reads the predictions needs none",
    run=BackboneProbe.in_both_modes,
)
def check_logits_are_scores(model: nn.Module, image: Tensor) -> None:
    """Logits are scores of any size and sign: no probabilities, and nothing cut off at 0.

    What is never negative is pushed down by a few steps of Adam before it is judged. The same goes
    for side outputs; a log_softmax does no harm and passes.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(weights, _PUSH) if weights else None
    stuck: dict[str, Tensor] = {}
    for step in range(_PUSHES + 1):
        scores = parts(run(model, image))
        if scores["logits"].shape[1] == 1:
            raise CheckSkipped("with one class no score competes with another")
        scores.pop("log_depth", None)
        stuck = {name: part for name, part in scores.items() if bool((part >= 0).all())}
        pushed = [part.float().mean() for part in stuck.values() if part.requires_grad]
        if not pushed or optimizer is None:
            break
        if step < _PUSHES:
            optimizer.zero_grad()
            torch.autograd.backward(pushed)
            optimizer.step()
    for name, part in stuck.items():
        looks = _looks_like(part.detach().double())
        if looks:
            breach(f"{name} in {'training' if model.training else 'evaluation'} {looks}")


_PUSH, _PUSHES = 0.1, 20


def _looks_like(scores: Tensor) -> str:
    """What scores without any negative one are taken for; empty if it need not mean anything."""
    total, zeros = scores.sum(1), float((scores == 0).double().mean())
    if torch.allclose(total, torch.ones_like(total), atol=1e-2):
        return "adds up to 1 over the classes at every pixel: a softmax?"
    if bool((scores <= 1).all()) and not bool((scores == scores.flatten()[0]).all()):
        return "never leaves [0, 1]: a sigmoid?"
    return f"is never negative, and 0 at {zeros:.0%}: a ReLU?" if zeros > 0.01 else ""


@backbone_check(
    "a division by a mean, a standard deviation or a maximum that an even image makes 0, a log or "
    "a square root of what may be 0 or negative, an exp of what may be large, or a log-depth that "
    "is the log of a ReLU",
    run=BackboneProbe.for_all_pictures,
)
def check_finite_outputs(model: nn.Module, image: Tensor, kind: str) -> None:
    """Every output is finite for every image: even ones, dark, bright and noisy ones."""
    mode = "training" if model.training else "evaluation"
    expect_finite(outputs(model, image), f"{{}} in {mode} for an image of {kind!r}")
