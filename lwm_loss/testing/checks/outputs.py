"""Checks of what a backbone returns: shapes, dtypes, and numbers that are numbers."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from lwm_loss import MultiTaskOutput

from ..registry import backbone_check
from ..report import CheckSkipped
from ..scenes import CORNERS, Picture, pictures
from ..search import breach, for_all, scenario
from ..subjects.network import BackboneProbe, parts


@backbone_check(
    "strides and poolings that round down, an upsampling by a factor in place of to a size, "
    "skip connections that differ by a pixel, a squeeze() that also drops a batch of one, a "
    "reshape with height and width swapped, or logits left at the stride of the decoder (upsample "
    'them, or pass resize="bilinear")'
)
def check_output_shapes(probe: BackboneProbe) -> str:
    r"""Logits are (B, C, H, W), log-depth (B, H, W) or (B, 1, H, W), side outputs (B, C, h, w).

    At the given size and at larger ones that neither strides nor cells divide, at a batch of one
    too, in training and evaluation. ``resize`` brings logits and log-depth to the image's size. A
    batch norm that refuses to learn from one value (of a pooled feature, at a batch of one) is a
    remark: training then needs ``drop_last``.

    Example:
        >>> check_output_shapes(torch.nn.Conv2d(3, 5, 1), num_classes=5)
    """
    height, width = probe.image_size
    square = height == width
    sample = probe.sample
    classes = probe.expected_classes
    if classes is None and not isinstance(sample, Exception):
        classes = sample.logits.shape[1] if sample.logits.ndim > 1 else None

    runs_at = probe.size_that_runs() if isinstance(sample, Exception) else probe.image_size
    if runs_at is None:
        probe.require_run()  # skips
    remarks: list[str] = []

    def hold(drawn: tuple[int, int, int, bool]) -> None:
        batch, taller, wider, train = drawn
        size = (height + taller, width + wider)
        scene = probe.image(batch=batch, size=size)
        statement = (
            "output = MultiTaskOutput.of(model(image))\n"
            "print([tuple(part.shape) for part in (output.logits, output.log_depth, "
            "*output.side_logits) if part is not None])\n" + _shape_assertion(batch, classes, size)
        )
        with scenario(probe.code(scene, after=statement, train=train)):
            model = probe.fresh(train=train, must_run=False)
            try:
                output = probe.run(model, scene["image"])
            except Exception as error:
                if square and size[0] != size[1]:
                    return  # it refuses what is not square, and was given square images to run on
                if train and batch == 1 and _ONE_VALUE in str(error):
                    remarks.append("training on a single image fails in a batch norm")
                    return
                if not train and runs_at not in (None, probe.image_size):
                    breach(
                        f"it raised {type(error).__name__}: {str(error).rstrip('.')}; it does run "
                        f"on images of {runs_at}: pass image_size={runs_at} if that is its size"
                    )
                raise
            wrong = _wrong_shape(output, batch, classes, size)
            if wrong:
                mode = "training" if train else "evaluation"
                breach(f"{wrong} for an image of {tuple(scene['image'].shape)} in {mode}")

    grow = st.integers(0, 17)
    strategy = st.tuples(st.integers(1, 3), grow, grow, st.booleans())
    odd = [(1 - height % 2, 1 - width % 2), (3 + height % 2, 5 + width % 2)]
    if square:
        odd.append((1 - height % 2 + 2, 1 - height % 2 + 2))
    corners = [(2, 0, 0, False), (1, 0, 0, False), (2, 0, 0, True)]
    corners += [(batch, *grown, False) for batch in (1, 2) for grown in odd]
    corners += [(2, *odd[-1], True), (1, *odd[0], True)]
    for_all(strategy, hold, probe.effort, corners)
    return remarks[0] if remarks else ""


# What batch norm says of a batch in which a channel has one value.
_ONE_VALUE = "Expected more than 1 value per channel"


def _wrong_shape(
    output: MultiTaskOutput, batch: int, classes: int | None, size: tuple[int, int]
) -> str | None:
    logits, log_depth, sides = output
    expected: tuple[int | str, ...] = (batch, "C" if classes is None else classes, *size)
    if not _fits(logits.shape, expected):
        at_stride = logits.ndim == 4 and logits.shape[2:] != torch.Size(size)
        hint = " (are they to be upsampled to the image's size?)" if at_stride else ""
        return f"logits of shape {tuple(logits.shape)} in place of {_text(expected)}{hint}"
    if log_depth is not None:
        flat = (batch, *expected[2:])
        channel = (batch, 1, *expected[2:])
        if not (_fits(log_depth.shape, flat) or _fits(log_depth.shape, channel)):
            return (
                f"log_depth of shape {tuple(log_depth.shape)} in place of {_text(flat)} or "
                f"{_text(channel)}"
            )
    for k, side in enumerate(sides):
        expected = (batch, logits.shape[1], "h", "w")
        if not _fits(side.shape, expected):
            shape = tuple(side.shape)
            return f"side_logits[{k}] of shape {shape} in place of {_text(expected)}"
    return None


def _fits(shape: torch.Size, expected: tuple[int | str, ...]) -> bool:
    return len(shape) == len(expected) and all(
        found > 0 if isinstance(wanted, str) else found == wanted
        for found, wanted in zip(shape, expected)
    )


def _text(expected: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, expected))})"


def _shape_assertion(batch: int, classes: int | None, size: tuple[int, int]) -> str:
    channels = "output.logits.shape[1]" if classes is None else str(classes)
    space = f"{size[0]}, {size[1]}"
    return (
        f"assert output.logits.shape == ({batch}, {channels}, {space})\n"
        "if output.log_depth is not None:\n"
        f"    assert output.log_depth.shape in [({batch}, {space}), ({batch}, 1, {space})]\n"
        "for side in output.side_logits:\n"
        f"    assert side.ndim == 4 and side.shape[:2] == ({batch}, {channels})"
    )


@backbone_check(
    "an argmax in forward, a .float(), .double() or .half() on an output, or a "
    "constant of another dtype that widens what it touches"
)
def check_output_dtypes(probe: BackboneProbe) -> None:
    """Every output has the floating point dtype of the network, in training and evaluation.

    Example:
        >>> check_output_dtypes(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_run()

    def hold(drawn: tuple[int, bool]) -> None:
        batch, train = drawn
        scene = probe.image(batch=batch)
        statement = (
            "output = MultiTaskOutput.of(model(image))\n"
            "for part in (output.logits, output.log_depth, *output.side_logits):\n"
            "    assert part is None or part.dtype == image.dtype, part.dtype"
        )
        with scenario(probe.code(scene, after=statement, train=train)):
            output = probe.run(probe.fresh(train=train), scene["image"])
            for name, part in parts(output).items():
                if part.dtype != probe.dtype:
                    breach(f"{name} of dtype {part.dtype} in place of {probe.dtype}")

    for train in (False, True):
        hold((2, train))


_PUSH, _PUSHES = 0.1, 20
_PUSH_DOWN = (
    "trainable = [p for p in model.parameters() if p.requires_grad]\n"
    f"optimizer = torch.optim.Adam(trainable, {_PUSH})\n"
    f"for _ in range({_PUSHES}):\n"
    "    output = MultiTaskOutput.of(model(image))\n"
    "    scores = [s for s in (output.logits, *output.side_logits) if (s >= 0).all()]\n"
    "    if not scores:\n"
    "        break\n"
    "    optimizer.zero_grad()\n"
    "    sum(s.mean() for s in scores).backward()\n"
    "    optimizer.step()\n"
    "else:\n"
    "    raise AssertionError([(float(s.min()), float(s.max())) for s in scores])"
)


@backbone_check(
    "a softmax, a sigmoid or a ReLU as the last layer, often in evaluation alone: the loss applies "
    "its own, and what reads the predictions needs none"
)
def check_logits_are_scores(probe: BackboneProbe) -> None:
    """Logits are scores of any size and sign: no probabilities, and nothing cut off at 0.

    What is never negative is pushed down by a few steps of Adam before it is judged. The same goes
    for side outputs; a log_softmax does no harm and passes.

    Example:
        >>> check_logits_are_scores(torch.nn.Conv2d(3, 5, 1))
    """
    if probe.require_output().logits.shape[1] == 1:
        raise CheckSkipped("with one class no score competes with another")
    scene = probe.image()
    for train in (False, True):
        with scenario(probe.code(scene, after=_PUSH_DOWN, train=train)):
            model = probe.fresh(train=train)
            weights = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.Adam(weights, _PUSH) if weights else None
            for step in range(_PUSHES + 1):
                output = parts(probe.run(model, scene["image"].clone()))
                output.pop("log_depth", None)
                stuck = {n: s.detach() for n, s in output.items() if bool((s >= 0).all())}
                pushed = [output[n].float().mean() for n in stuck if output[n].requires_grad]
                if not pushed or optimizer is None:
                    break
                if step < _PUSHES:
                    optimizer.zero_grad()
                    torch.autograd.backward(pushed)
                    optimizer.step()
            mode = "training" if train else "evaluation"
            for name, scores in stuck.items():
                looks = _looks_like(scores.double())
                if looks:
                    breach(f"{name} in {mode} {looks}")


def _looks_like(scores: torch.Tensor) -> str:
    """What scores without any negative one are taken for; empty if it need not mean anything."""
    total = scores.sum(1)
    if torch.allclose(total, torch.ones_like(total), atol=1e-2):
        return "adds up to 1 over the classes at every pixel: a softmax?"
    if bool((scores <= 1).all()) and not bool((scores == scores.flatten()[0]).all()):
        return "never leaves [0, 1]: a sigmoid?"
    if float((scores == 0).double().mean()) > 0.01:
        return f"is never negative, and 0 at {float((scores == 0).double().mean()):.0%}: a ReLU?"
    return ""


@backbone_check(
    "a division by a mean, a standard deviation or a maximum that an even image makes 0, a log or "
    "a square root of what may be 0 or negative, an exp of what may be large, or a log-depth that "
    "is the log of a ReLU"
)
def check_finite_outputs(probe: BackboneProbe) -> None:
    """Every output is finite for every image: even ones, dark, bright and noisy ones.

    Example:
        >>> check_finite_outputs(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()

    def hold(drawn: tuple[Picture, bool]) -> None:
        picture, train = drawn
        scene = probe.image(picture)
        statement = (
            "output = MultiTaskOutput.of(model(image))\n"
            "for part in (output.logits, output.log_depth, *output.side_logits):\n"
            "    assert part is None or part.isfinite().all()"
        )
        with scenario(probe.code(scene, after=statement, train=train)):
            with torch.no_grad():
                output = probe.run(probe.fresh(train=train), scene["image"])
            found = not_finite(parts(output))
            if found:
                mode = "training" if train else "evaluation"
                breach(f"{found} in {mode} for an image of {picture.kind!r}")

    strategy = st.tuples(pictures(), st.booleans())
    corners = [(picture, train) for picture in CORNERS for train in (False, True)]
    for_all(strategy, hold, probe.effort, corners)


def not_finite(tensors: dict[str, torch.Tensor]) -> str | None:
    """The first tensor that is not finite, in words."""
    for name, tensor in tensors.items():
        bad = ~tensor.isfinite()
        if bool(bad.any()):
            value = float(tensor[bad][0])
            return f"{name} has {int(bad.sum())} of {tensor.numel()} values not finite ({value})"
    return None
