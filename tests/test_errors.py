"""Bad input gets one sentence: what was expected, what was got and the likely mistake."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF

LOGITS = torch.zeros(2, 3, 4, 5)
TARGET = torch.zeros(2, 4, 5, dtype=torch.long)
LOG_DEPTH = torch.zeros(2, 4, 5)
DEPTH = torch.ones(2, 4, 5)
CE = nn.CrossEntropyLoss(reduction="none")
MODULE = lwm.LossWeightModule()


def target_with(value: int) -> Tensor:
    """Labels with one wrong one."""
    target = TARGET.clone()
    target[1, 2, 3] = value
    return target


def z(**changes: Any) -> Tensor:
    """Z of the healthy batch, changed."""
    arguments: dict[str, Any] = {"input": LOGITS, "target": TARGET, "target_depth": DEPTH}
    arguments |= changes
    return LF.depth_aware_segmentation_error(**arguments)


def r(**changes: Any) -> Tensor:
    """R of the healthy batch, changed."""
    arguments: dict[str, Any] = {"input": LOG_DEPTH, "target_depth": DEPTH}
    arguments |= changes
    return LF.depth_prediction_error(**arguments)


def whole(num_sides: int = 0, **changes: Any) -> lwm.LossTerms:
    """The objective of the healthy batch, changed."""
    arguments: dict[str, Any] = {
        "logits": LOGITS,
        "target": TARGET,
        "pred_depth": LOG_DEPTH,
        "target_depth": DEPTH,
    }
    arguments |= changes
    return lwm.HardPixelMiningLoss(num_sides)(**arguments)


class Named(nn.Module):
    """A criterion that returns what it is told to."""

    def __init__(self, result: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.result = result

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        return self.result(logits, target)


def wrap(result: Callable[[Tensor, Tensor], Any], **options: Any) -> Tensor:
    """The loss of a criterion that returns this."""
    return lwm.HardPixelLoss(Named(result), MODULE, **options)(LOGITS, TARGET, LOG_DEPTH, DEPTH)


class Ignoring(nn.Module):
    """A weighting that declares a label to ignore."""

    def __init__(self, ignore_index: Any) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor, *depths: Tensor) -> Tensor:
        return torch.ones_like(target, dtype=logits.dtype)


def wrap_with(weighting: Any, **options: Any) -> lwm.HardPixelLoss:
    """A criterion without an ignored label of its own under this weighting."""
    return lwm.HardPixelLoss(Named(lambda logits, target: logits.sum(1)), weighting, **options)


# (what goes wrong, the error, what its sentence must say)
CASES: dict[str, tuple[Callable[[], object], type[Exception], list[str]]] = {
    # labels
    "label 255": (
        lambda: z(target=target_with(255)),
        ValueError,
        ["target", "255", "did you mean ignore_index=255?"],
    ),
    "label 255 in the objective": (
        lambda: whole(target=target_with(255)),
        ValueError,
        ["target", "255", "did you mean ignore_index=255?"],
    ),
    "label 255 in the wrapper": (
        lambda: lwm.HardPixelLoss(CE, MODULE)(LOGITS, target_with(255), LOG_DEPTH, DEPTH),
        ValueError,
        ["target", "255", "did you mean ignore_index=255?"],
    ),
    "label 255 in a rival": (
        lambda: lwm.OHEMWeighting()(LOGITS, target_with(255)),
        ValueError,
        ["target", "255", "did you mean ignore_index=255?"],
    ),
    "label 255 in validate": (
        lambda: lwm.validate(LOGITS, target_with(255)),
        ValueError,
        ["target", "255", "did you mean ignore_index=255?"],
    ),
    "label of -1": (
        lambda: z(target=target_with(-1)),
        ValueError,
        ["target", "-1", "did you mean ignore_index=-1?"],
    ),
    "label equal to the number of classes": (
        lambda: z(target=target_with(3)),
        ValueError,
        ["target", "3"],
    ),
    "labels as floats": (lambda: z(target=TARGET.float()), TypeError, ["target", "float32"]),
    "labels as booleans": (lambda: z(target=TARGET.bool()), TypeError, ["target", "bool"]),
    "labels one-hot": (
        lambda: z(target=torch.zeros(2, 3, 4, 5, dtype=torch.long)),
        ValueError,
        ["target", "(2, 3, 4, 5)", "is it one-hot (then use target.argmax(1))?"],
    ),
    "complex labels": (
        lambda: z(target=TARGET.to(torch.complex64)),
        TypeError,
        ["`target` to be real", "complex64"],
    ),
    "complex scores": (
        lambda: z(input=LOGITS.to(torch.complex64)),
        TypeError,
        ["`input` to be real", "complex64"],
    ),
    "predicted labels of two classes as booleans": (
        lambda: z(input=TARGET.bool()),
        TypeError,
        ["`input`", "integer labels", "bool"],
    ),
    "labels with a channel": (
        lambda: whole(target=TARGET[:, None]),
        ValueError,
        ["target", "(2, 1, 4, 5)"],
    ),
    "labels of another size": (
        lambda: z(target=TARGET[:, :3]),
        ValueError,
        ["target", "(2, 3, 5)", "(2, 4, 5)"],
    ),
    "labels of another batch": (
        lambda: z(target=TARGET[:1]),
        ValueError,
        ["target", "(1, 4, 5)", "(2, 4, 5)"],
    ),
    "labels in numpy": (lambda: z(target=TARGET.numpy()), TypeError, ["target", "ndarray"]),
    "predicted labels of another size": (
        lambda: z(input=TARGET[:, :3]),
        ValueError,
        ["(2, 3, 5)", "(2, 4, 5)"],
    ),
    # logits
    "logits without classes": (
        lambda: whole(logits=LOGITS[:, 0]),
        ValueError,
        ["logits", "(2, 4, 5)"],
    ),
    "integer logits": (lambda: whole(logits=LOGITS.long()), TypeError, ["logits", "int64"]),
    "logits as a list": (
        lambda: whole(logits=LOGITS.tolist()),
        TypeError,
        ["logits", "list"],
    ),
    "no logits": (lambda: whole(logits=None), TypeError, ["logits", "None"]),
    # depth
    "target depth of another size": (
        lambda: z(target_depth=DEPTH[..., :3]),
        ValueError,
        ["target_depth", "(2, 4, 3)", "(2, 4, 5)"],
    ),
    "predicted depth of another size": (
        lambda: r(input=LOG_DEPTH[:, ::2]),
        ValueError,
        ["(2, 2, 5)", "(2, 4, 5)"],
    ),
    "predicted depth of another size in the objective": (
        lambda: whole(pred_depth=LOG_DEPTH[:, ::2]),
        ValueError,
        ["pred_depth", "(2, 2, 5)", "(2, 4, 5)"],
    ),
    "integer target depth": (
        lambda: r(target_depth=DEPTH.int()),
        TypeError,
        ["target_depth", "int32"],
    ),
    "integer target depth for regions": (
        lambda: LF.depth_aware_regions(DEPTH.short()),
        TypeError,
        ["target_depth", "int16"],
    ),
    "no predicted depth": (
        lambda: MODULE(LOGITS, TARGET, None, DEPTH),
        TypeError,
        ["pred_depth", "None"],
    ),
    "no target depth": (
        lambda: lwm.HardPixelLoss(CE, MODULE)(LOGITS, TARGET, LOG_DEPTH),
        TypeError,
        ["target_depth", "None"],
    ),
    "predicted depth of zero": (
        lambda: r(log_input=False),
        ValueError,
        ["0", "log_input=True"],
    ),
    "a mask without the depth that it masks": (
        lambda: lwm.HardPixelLoss(CE, lwm.OHEMWeighting())(
            LOGITS, TARGET, LOG_DEPTH, depth_mask=torch.ones(2, 4, 5, dtype=torch.bool)
        ),
        TypeError,
        ["`target_depth` with a `depth_mask`", "None"],
    ),
    "predicted depth of zero at one pixel": (
        lambda: LF.depth_prediction_error(
            torch.tensor([[[3.0, 0.0, 2.0]]]), torch.ones(1, 1, 3), log_input=False
        ),
        ValueError,
        ["`input` to be positive", "got 0"],
    ),
    "predicted depth below zero in L_d": (
        lambda: LF.log_depth_mse_loss(LOG_DEPTH - 2.0, DEPTH, log_input=False),
        ValueError,
        ["-2", "log_input=True"],
    ),
    "predicted depth of zero in the module": (
        lambda: lwm.LossWeightModule(log_input=False)(LOGITS, TARGET, LOG_DEPTH, DEPTH),
        ValueError,
        ["`pred_depth`", "got 0", "log_input=True"],
    ),
    "predicted depth of zero in validate": (
        lambda: lwm.validate(LOGITS, TARGET, LOG_DEPTH, DEPTH, log_input=False),
        ValueError,
        ["`pred_depth`", "got 0", "log_input=True"],
    ),
    "a mask of floats": (
        lambda: r(depth_mask=torch.ones(2, 4, 5)),
        TypeError,
        ["depth_mask", "bool", "float32"],
    ),
    "a mask of another size": (
        lambda: z(depth_mask=torch.ones(2, 4, 4, dtype=torch.bool)),
        ValueError,
        ["depth_mask", "(2, 4, 4)", "(2, 4, 5)"],
    ),
    # devices
    "labels elsewhere": (
        lambda: z(target=TARGET.to("meta")),
        ValueError,
        ["target", "meta", "cpu"],
    ),
    "depth elsewhere": (
        lambda: whole(target_depth=DEPTH.to("meta")),
        ValueError,
        ["target_depth", "meta", "cpu"],
    ),
    # options
    "an unknown grid": (lambda: z(cells="cell"), ValueError, ["cells", "'cell'"]),
    "no cells": (lambda: z(cells=(0, 8)), ValueError, ["`cells`", "0"]),
    "one number of cells": (lambda: z(cells=(8,)), ValueError, ["cells", "(8,)"]),
    "cells of a volume on an image": (
        lambda: z(cells=(2, 8, 8)),
        ValueError,
        ["cells", "(2, 8, 8)"],
    ),
    "a fraction of cells": (
        lambda: lwm.LossWeightModule(cells=(2.5, 8)),  # type: ignore[arg-type]
        TypeError,
        ["`cells`", "float"],
    ),
    "bins of no size": (lambda: z(bin_size=0.0), ValueError, ["bin_size", "0"]),
    "bins of a negative size": (
        lambda: lwm.LossWeightModule(bin_size=-1.0),
        ValueError,
        ["bin_size", "-1"],
    ),
    "bins of NaN size": (
        lambda: LF.depth_aware_regions(DEPTH, bin_size=float("nan")),
        ValueError,
        ["bin_size", "nan"],
    ),
    "an empty depth range": (
        lambda: z(depth_range=(256.0, 1.0)),
        ValueError,
        ["depth_range", "(256.0, 1.0)"],
    ),
    "an unknown fusion": (
        lambda: lwm.LossWeightModule(fusion="mean"),
        ValueError,
        ["fusion", "'mean'", "sum", "product", "max"],
    ),
    "an unknown mode": (
        lambda: LF.fuse(DEPTH, DEPTH, "add"),
        ValueError,
        ["mode", "'add'", "sum", "product", "max"],
    ),
    "an unknown mode of the module": (
        lambda: lwm.Fusion("add"),
        ValueError,
        ["mode", "'add'", "sum", "product", "max"],
    ),
    "maps of two sizes": (
        lambda: LF.fuse(DEPTH, DEPTH[:1]),
        ValueError,
        ["(1, 4, 5)", "(2, 4, 5)"],
    ),
    "an unknown reduction": (
        lambda: LF.log_depth_mse_loss(LOG_DEPTH, DEPTH, reduction="average"),
        ValueError,
        ["reduction", "'average'", "mean", "sum", "none"],
    ),
    "no epochs": (lambda: lwm.SelfPacedCurriculum(0), ValueError, ["epochs", "0"]),
    "half an epoch": (
        lambda: lwm.SelfPacedCurriculum(1.5),  # type: ignore[arg-type]
        TypeError,
        ["`epochs`", "float"],
    ),
    "negative progress": (
        lambda: LF.curriculum_threshold(DEPTH, -0.5),
        ValueError,
        ["progress", "-0.5"],
    ),
    "near beyond far": (
        lambda: LF.rescale_depth(DEPTH, near=10.0, far=1.0),
        ValueError,
        ["near", "10", "1"],
    ),
    "an unknown way to resize": (
        lambda: lwm.HardPixelMiningLoss(resize="labels"),
        ValueError,
        ["resize", "'labels'", "logits", "target"],
    ),
    "a negative number of sides": (
        lambda: lwm.HardPixelMiningLoss(num_sides=-1),
        ValueError,
        ["num_sides", "-1"],
    ),
    "too few sides": (
        lambda: whole(num_sides=4, side_logits=[LOGITS] * 3),
        ValueError,
        ["side_logits", "4", "3"],
    ),
    "sides that were not asked for": (
        lambda: whole(num_sides=0, side_logits=[LOGITS]),
        ValueError,
        ["side_logits", "0", "1"],
    ),
    "a side with other classes": (
        lambda: whole(num_sides=1, side_logits=[LOGITS[:, :2]]),
        ValueError,
        ["side_logits", "3", "2"],
    ),
    "a threshold above one": (
        lambda: lwm.OHEMWeighting(threshold=1.5),
        ValueError,
        ["threshold", "1.5"],
    ),
    "a negative number to keep": (
        lambda: lwm.OHEMWeighting(min_kept=-1),
        ValueError,
        ["min_kept", "-1"],
    ),
    "a negative gamma": (lambda: lwm.FocalWeighting(gamma=-1.0), ValueError, ["gamma", "-1"]),
    "a ratio of zero": (
        lambda: lwm.LossMaxPoolingWeighting(ratio=0.0),
        ValueError,
        ["ratio", "0"],
    ),
    "a norm of one": (lambda: lwm.LossMaxPoolingWeighting(p=1.0), ValueError, ["p", "1"]),
    # criteria
    "a criterion with reduction='mean'": (
        lambda: lwm.HardPixelLoss(nn.CrossEntropyLoss(), MODULE),
        ValueError,
        ["CrossEntropyLoss", "reduction", "none", "mean"],
    ),
    "a criterion that returns a scalar": (
        lambda: wrap(lambda logits, target: logits.mean()),
        ValueError,
        ["Named", "a scalar", "(2, 4, 5)", 'reduction="none"'],
    ),
    "a criterion with one value per class": (
        lambda: wrap(lambda logits, target: logits),
        ValueError,
        ["Named", "(2, 3, 4, 5)", "(2, 4, 5)", "sum_classes=True"],
    ),
    "a criterion that flattens": (
        lambda: wrap(lambda logits, target: logits.sum(1).flatten()),
        ValueError,
        ["Named", "(40,)", "(2, 4, 5)"],
    ),
    "a criterion with one value per image": (
        lambda: wrap(lambda logits, target: logits.sum((1, 2, 3))),
        ValueError,
        ["Named", "(2,)", "(2, 4, 5)"],
    ),
    "a criterion that returns no tensor": (
        lambda: wrap(lambda logits, target: {"loss": logits.mean()}),
        TypeError,
        ["Named", "dict"],
    ),
    "a criterion in the objective that returns a scalar": (
        lambda: lwm.HardPixelMiningLoss(0, criterion=Named(lambda a, b: a.mean()))(
            LOGITS, TARGET, LOG_DEPTH, DEPTH
        ),
        ValueError,
        ["Named", "a scalar", "(2, 4, 5)", 'reduction="none"'],
    ),
    "a criterion's class": (
        lambda: lwm.HardPixelLoss(nn.CrossEntropyLoss, MODULE),
        TypeError,
        ["`criterion`", "the class CrossEntropyLoss", "did you mean CrossEntropyLoss(...)?"],
    ),
    "None for a criterion": (
        lambda: lwm.HardPixelLoss(None, MODULE),  # type: ignore[arg-type]
        TypeError,
        ["`criterion`", "None"],
    ),
    **{
        f"{name} for a weighting of {loss.__name__}": (
            lambda loss=loss, value=value: loss(criterion=CE, weighting=value),
            TypeError,
            ["`weighting`", "LossWeightModule", *words],
        )
        for loss in (lwm.HardPixelLoss, lwm.HardPixelMiningLoss)
        for name, value, words in (
            ("a class", lwm.LossWeightModule, ["did you mean LossWeightModule(...)?"]),
            ("a string", "dse", ["str 'dse'"]),
            ("a number", 0.5, ["float 0.5"]),
            ("a tensor", DEPTH, ["Tensor"]),
        )
    },
    "None for a weighting": (
        lambda: lwm.HardPixelLoss(CE, None),  # type: ignore[arg-type]
        TypeError,
        ["`weighting`", "None"],
    ),
    **{
        f"{name} for a curriculum of {loss.__name__}": (
            lambda loss=loss, value=value: loss(criterion=CE, weighting=MODULE, curriculum=value),
            TypeError,
            ["`curriculum`", "SelfPacedCurriculum", *words],
        )
        for loss in (lwm.HardPixelLoss, lwm.HardPixelMiningLoss)
        for name, value, words in (
            ("a class", lwm.SelfPacedCurriculum, ["did you mean SelfPacedCurriculum(...)?"]),
            ("a string", "linear", ["str 'linear'"]),
            ("a number", 120, ["int 120"]),
        )
    },
    "a weighting with a fraction for a label": (
        lambda: wrap_with(Ignoring(1.5)),
        TypeError,
        ["`weighting.ignore_index`", "float"],
    ),
    "a weighting of another shape": (
        lambda: wrap_with(lambda *_: DEPTH[..., :2])(LOGITS, TARGET),
        ValueError,
        ["`weighting`", "(2, 4, 5)", "(2, 4, 2)"],
    ),
    "a weighting that returns a number": (
        lambda: wrap_with(lambda *_: 0.5)(LOGITS, TARGET),
        TypeError,
        ["`weighting(...)`", "float"],
    ),
    "side outputs as a mapping": (
        lambda: whole(num_sides=1, side_logits={"a": LOGITS}),
        TypeError,
        ["`side_logits`", "dict"],
    ),
    "side outputs as a generator": (
        lambda: whole(num_sides=1, side_logits=(side for side in [LOGITS])),
        TypeError,
        ["`side_logits`", "generator"],
    ),
    "side outputs of None": (
        lambda: whole(num_sides=1, side_logits=[None]),
        TypeError,
        ["`side_logits`", "NoneType"],
    ),
    "a side output without pixels": (
        lambda: whole(num_sides=1, side_logits=[LOGITS[..., :0]]),
        ValueError,
        ["`side_logits`", "(2, 3, 4, 0)"],
    ),
    "logits without pixels": (
        lambda: lwm.HardPixelLoss(CE, MODULE, upsample_logits=True)(
            LOGITS[..., :0], TARGET, LOG_DEPTH, DEPTH
        ),
        ValueError,
        ["`logits`", "(2, 3, 4, 0)", "(2, 4, 5)"],
    ),
    "logits without pixels of an empty batch": (
        lambda: lwm.HardPixelLoss(CE, MODULE, upsample_logits=True)(
            LOGITS[:0, ..., :0], TARGET[:0], LOG_DEPTH[:0], DEPTH[:0]
        ),
        ValueError,
        ["`logits`", "(0, 3, 4, 0)", "(0, 4, 5)"],
    ),
    "bins that nobody can count": (
        lambda: lwm.LossWeightModule(bin_size=1e-320),
        ValueError,
        ["`bin_size`", "1e-320"],
    ),
    "an ignored label beyond 64 bits": (
        lambda: lwm.LossWeightModule(ignore_index=2**70),
        ValueError,
        ["`ignore_index`", "64 bits"],
    ),
    "a criterion that smooths by more than everything": (
        lambda: lwm.HardPixelLoss(
            nn.CrossEntropyLoss(reduction="none", label_smoothing=1.5), MODULE
        ),
        ValueError,
        ["`label_smoothing`", "1.5"],
    ),
    "normalize as a word": (
        lambda: lwm.DepthPredictionError(normalize="yes"),  # type: ignore[arg-type]
        TypeError,
        ["`normalize`", "'yes'"],
    ),
    "log_input as a word of a function": (
        lambda: r(log_input="no"),
        TypeError,
        ["`log_input`", "'no'"],
    ),
    "a depth range of one number": (
        lambda: lwm.LossWeightModule(depth_range=(1.0,)),  # type: ignore[arg-type]
        ValueError,
        ["`depth_range`", "pair", "(1.0,)"],
    ),
    "a depth range that is a number": (
        lambda: LF.rescale_depth(DEPTH, 0.5, 10.0, 256.0),  # type: ignore[arg-type]
        ValueError,
        ["`depth_range`", "pair", "256.0"],
    ),
    "a map without a batch": (
        lambda: LF.curriculum_threshold(torch.zeros(4), 0.5),
        ValueError,
        ["`weight_map`", "(B, *S)", "(4,)"],
    ),
    "a weight map of integers": (
        lambda: LF.curriculum_threshold(DEPTH.long(), 0.5),
        TypeError,
        ["`weight_map`", "floating point", "int64"],
    ),
    "a mask of labels": (
        lambda: LF.curriculum_threshold(DEPTH, 0.5, mask=DEPTH.long()),
        TypeError,
        ["`mask`", "bool", "int64", "target != ignore_index?"],
    ),
    "a mask of another shape": (
        lambda: LF.curriculum_threshold(DEPTH, 0.5, mask=DEPTH[:, :1] > 0),
        ValueError,
        ["`mask` of the shape of `weight_map`"],
    ),
    "integer logits of a rival": (
        lambda: lwm.OHEMWeighting()(LOGITS.long(), TARGET),
        TypeError,
        ["`logits`", "int64"],
    ),
    "log_input as a word": (
        lambda: lwm.LossWeightModule(log_input="no"),  # type: ignore[arg-type]
        TypeError,
        ["`log_input`", "'no'"],
    ),
    "sum_classes as a word": (
        lambda: wrap(lambda logits, target: logits, sum_classes="x"),
        TypeError,
        ["`sum_classes`", "'x'"],
    ),
    "no criterion": (
        lambda: lwm.HardPixelLoss("ce", MODULE),  # type: ignore[arg-type]
        TypeError,
        ["criterion", "str"],
    ),
    "two ignored labels": (
        lambda: lwm.HardPixelLoss(
            nn.CrossEntropyLoss(ignore_index=255, reduction="none"),
            lwm.LossWeightModule(ignore_index=0),
        ),
        ValueError,
        ["ignore_index", "255", "0"],
    ),
    "two ignored labels, the criterion without one": (
        lambda: wrap_with(lwm.LossWeightModule(ignore_index=255), ignore_index=1),
        ValueError,
        ["ignore_index", "255", "1"],
    ),
    "two ignored labels in the objective": (
        lambda: lwm.HardPixelMiningLoss(
            weighting=lwm.LossWeightModule(ignore_index=255), ignore_index=1
        ),
        ValueError,
        ["ignore_index", "255", "1"],
    ),
    "two ignored labels, one given": (
        lambda: lwm.HardPixelLoss(
            nn.CrossEntropyLoss(ignore_index=255, reduction="none"), MODULE, ignore_index=1
        ),
        ValueError,
        ["ignore_index", "255", "1"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentence(case: str) -> None:
    call, error, words = CASES[case]
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert re.match(r"Expected .+,? but got .+", message), message
    assert "\n" not in message
    for word in words:
        assert word in message, (word, message)


def test_the_sentence_in_full() -> None:
    with pytest.raises(ValueError, match="did you mean") as caught:
        lwm.validate(LOGITS, target_with(255))
    assert str(caught.value) == (
        "Expected `target` to hold labels in [0, 2] or ignore_index=-100, but got 255: "
        "did you mean ignore_index=255?"
    )


def test_validate_is_silent_on_a_healthy_batch() -> None:
    assert lwm.validate(LOGITS, TARGET).findings == ()
    assert lwm.validate(LOGITS, TARGET, LOG_DEPTH, DEPTH).findings == ()
    assert lwm.validate(LOGITS, target_with(255), ignore_index=255).labelled == 39 / 40
    assert lwm.validate(LOGITS, TARGET, LOG_DEPTH + 1.0, DEPTH, log_input=False).findings == ()
    # A prediction where depth is missing is not looked at.
    with pytest.warns(lwm.DepthWarning, match="No depth is known"):
        lwm.validate(LOGITS, TARGET, LOG_DEPTH, torch.zeros_like(DEPTH), log_input=False)


def test_validate_reads_what_a_loss_leaves_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_batch", "_labels", "depth_error"):  # as on CUDA
        monkeypatch.setattr(f"lwm_loss.{module}.can_read", lambda tensor: False)
    lwm.LossWeightModule(fusion="dse")(LOGITS, target_with(255), None, DEPTH)
    with pytest.raises(ValueError, match=r"did you mean ignore_index=255\?"):
        lwm.validate(LOGITS, target_with(255))
    with pytest.raises(ValueError, match=r"did you mean log_input=True\?"):
        lwm.validate(LOGITS, TARGET, LOG_DEPTH, DEPTH, log_input=False)


class Foreign(Tensor):
    """A tensor with a type of its own, as MONAI's MetaTensor."""


def test_values_of_a_tensor_subclass_are_read() -> None:
    for call in (
        lambda t: z(target=t),
        lambda t: whole(target=t),
        lambda t: lwm.OHEMWeighting()(LOGITS, t),
    ):
        with pytest.raises(ValueError, match=r"did you mean ignore_index=255\?"):
            call(target_with(255).as_subclass(Foreign))
    with pytest.raises(ValueError, match=r"did you mean log_input=True\?"):
        r(input=LOG_DEPTH.as_subclass(Foreign), log_input=False)


@pytest.mark.slow
def test_a_tensor_subclass_gives_the_same_values() -> None:
    monai = pytest.importorskip("monai.data", reason="monai is not installed")
    scores = torch.randn(2, 3, 4, 5)
    plain = whole(logits=scores)
    meta = [monai.MetaTensor(tensor) for tensor in (scores, TARGET, LOG_DEPTH, DEPTH)]
    terms = lwm.HardPixelMiningLoss(0)(*meta)
    assert float(terms.total) == float(plain.total)
    with pytest.raises(ValueError, match=r"did you mean ignore_index=255\?"):
        whole(target=monai.MetaTensor(target_with(255)))


def test_one_default_ignored_label_yields_to_the_other() -> None:
    target = target_with(255)
    ignoring = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    both = lwm.HardPixelLoss(ignoring, lwm.LossWeightModule(ignore_index=255))
    one = lwm.HardPixelLoss(ignoring, lwm.LossWeightModule())
    named = lwm.HardPixelLoss(Named(lambda a, b: ignoring(a, b)), MODULE, ignore_index=255)
    expected = both(LOGITS, target, LOG_DEPTH + 1, DEPTH)
    assert expected > 0
    assert torch.equal(one(LOGITS, target, LOG_DEPTH + 1, DEPTH), expected)
    assert torch.equal(named(LOGITS, target, LOG_DEPTH + 1, DEPTH), expected)


def test_the_weighting_that_was_given_is_not_changed() -> None:
    weighting = lwm.LossWeightModule()
    lwm.HardPixelLoss(nn.CrossEntropyLoss(ignore_index=255, reduction="none"), weighting)
    assert weighting.ignore_index == -100
    with pytest.raises(ValueError, match="255"):
        weighting(LOGITS, target_with(255), LOG_DEPTH, DEPTH)


def test_the_shape_that_is_expected_is_that_of_scores_or_of_labels() -> None:
    target, depth = torch.zeros(2, 3).long(), torch.ones(1, 2, 3)
    for input, shape in (
        (torch.zeros(3, 2, 3), "(B, C, H, W) or (B, C, D, H, W)"),
        (target, "(B, H, W) or (B, D, H, W)"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"of shape {shape}, but got")):
            LF.depth_aware_segmentation_error(input, target, depth)


@pytest.mark.parametrize("index", [2**63, -(2**63) - 1])
def test_the_first_labels_that_do_not_fit_into_64_bits(index: int) -> None:
    assert lwm.LossWeightModule(ignore_index=index - (1 if index > 0 else -1))
    with pytest.raises(ValueError, match="`ignore_index` to fit into 64 bits"):
        lwm.LossWeightModule(ignore_index=index)


def test_an_unknown_task_is_named() -> None:
    for kind in (lwm.LossWeightModule, lwm.DepthAwareSegmentationError):
        with pytest.raises(ValueError, match="`task` to be one of"):
            kind(task="regression")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "value", [[1.0], 3.0, "depth", DEPTH.numpy()], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("name", ["pred_depth", "target_depth"])
@pytest.mark.parametrize(
    "call",
    [
        lwm.HardPixelMiningLoss(0),
        lwm.HardPixelLoss(CE, MODULE, upsample_logits=True),
        MODULE,
        lwm.validate,
        LF.depth_prediction_error,
    ],
    ids=lambda call: getattr(call, "__name__", type(call).__name__),
)
def test_a_depth_that_is_no_tensor(call: Any, name: str, value: Any) -> None:
    if call is LF.depth_prediction_error:
        arguments = {"input": LOG_DEPTH, "target_depth": DEPTH}
        name = name.replace("pred_depth", "input")
    else:
        arguments = dict(
            zip(
                ("logits", "target", "pred_depth", "target_depth"),
                (LOGITS, TARGET, LOG_DEPTH, DEPTH),
            )
        )
    arguments[name] = value
    got = type(value).__name__
    with pytest.raises(
        TypeError, match=rf"^Expected `{name}` to be a torch\.Tensor, but got {got}"
    ):
        call(**arguments)


def test_options_of_numpy_are_those_of_python() -> None:
    """Tables of options and ``np.arange`` yield numpy's numbers."""
    weighting = lwm.LossWeightModule(
        cells=(np.int64(4), np.int32(2)), bin_size=np.float32(16), ignore_index=np.int64(255),
        depth_range=(np.float64(1), np.int16(256)),
    )  # fmt: skip
    objective = lwm.HardPixelMiningLoss(
        np.int64(0), np.float32(0.5), np.int8(2), weighting, ignore_index=np.int16(255)
    )
    plain = lwm.HardPixelMiningLoss(
        0, 0.5, 2.0, lwm.LossWeightModule((4, 2), 16.0, (1.0, 256.0), ignore_index=255),
        ignore_index=255,
    )  # fmt: skip
    batch = (LOGITS, TARGET, LOG_DEPTH, DEPTH)
    assert torch.equal(objective(*batch).total, plain(*batch).total)
    assert repr(objective) == repr(plain)
    curriculum = lwm.SelfPacedCurriculum(np.int64(4))
    curriculum.set_epoch(np.int64(3))
    assert curriculum.progress == 0.75
    threshold = LF.curriculum_threshold(DEPTH, np.float32(0.5))
    assert torch.equal(threshold, LF.curriculum_threshold(DEPTH, 0.5))
