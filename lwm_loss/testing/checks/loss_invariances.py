"""What a loss must not depend on."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..calls import Loss, LossInputs
from ..expect import CheckSkipped, expect_same
from ..registry import loss_check
from ..subjects.loss import LossProbe
from ..subjects.signature import class_weights
from .loss_values import CLOSE, require_no_chance

# Of the scores that are drawn, in float32 and over all pixels: a loss near 0 is a difference.
ROUNDING = 1e-5


def _agree(found: dict[str, Tensor], expected: dict[str, Tensor], sentence: str) -> None:
    for name, tensor in expected.items():
        digit = 1 if name == "the loss" else 10
        now, before = {name: found[name]}, {name: tensor}
        expect_same(now, before, digit * CLOSE, f"{sentence} {{}}", ROUNDING / digit)


@loss_check(
    "a weight by position in the batch, a state that the first image fills, or an index of regions "
    "that counts images wrongly",
    requires=require_no_chance,
    run=partial(LossProbe.for_all, min_images=2),
)
def check_batch_permutation(loss: Loss, batch: LossInputs) -> None:
    """The order of the images in a batch changes neither the loss nor a gradient."""
    turned = loss.results(batch.mapped(lambda x: x.flip(0)))
    found = {name: x.flip(0) if x.ndim > 1 else x for name, x in turned.items()}
    _agree(found, loss.results(batch), "in another order of the images")


@loss_check(
    "a class that is treated apart (class 0 as background), a distance between class numbers, or "
    "a class left out of an argmax or a sum",
    requires=require_no_chance,
)
def check_class_permutation(probe: LossProbe) -> None:
    """Classes under other numbers, in scores and labels alike, change nothing.

    Class weights (``weight``, ``class_weight``, ``class_weights``, ``alpha``) move with them. Every
    pixel has a label, for what is made of ignored ones is other checks' business.
    """
    probe.require_roles("logits", "target")
    if any(0 <= label < probe.num_classes for label in probe.ignored):
        raise CheckSkipped("one of the classes is ignored, so that they are not alike")
    settings = probe.settings._replace(ignore_index=None)
    probe.for_all(numbers_of_classes_do_not_matter, settings=settings)


def numbers_of_classes_do_not_matter(loss: Loss, batch: LossInputs) -> None:
    """Give every class the next number, in scores, labels and class weights."""
    expected = loss.results(batch)
    classes = batch.logits.shape[1]
    changed = batch.scored(lambda x: x.roll(-1, 1))
    changed = changed._replace(target=(batch.target - 1) % classes)
    weights = class_weights(loss.criterion)
    for weight in weights:
        weight.data.copy_(weight.roll(-1))
    turned = loss.results(changed)
    for weight in weights:
        weight.data.copy_(weight.roll(1))
    found = {
        name: x.roll(1, 1) if x.ndim == 4 and x.shape[1] == classes else x
        for name, x in turned.items()
    }
    _agree(found, expected, "with other numbers for the classes")


@loss_check(
    "a maximum, a quantile or a ranking over the batch in place of over each image (R, an OHEM "
    "threshold), region numbers without the number of the image, or statistics kept in a buffer",
    requires=require_no_chance,
    run=partial(LossProbe.for_all, min_images=2),
)
def check_images_do_not_influence_each_other(loss: Loss, batch: LossInputs) -> None:
    """Scores and depth of one image change neither gradient nor weights of another image.

    Labels, and which depth is known, stay: a mean over the batch may count them.
    """
    depth = batch.target_depth
    known = depth.isfinite() & (depth > 0)
    others = batch.scored(lambda x: 1.5 * x.roll(1, 1))._replace(
        pred_depth=0.5 * batch.pred_depth + 1,
        target_depth=torch.where(known, 1 + (7.3 * depth) % 200, depth),
    )
    joined = batch.paired(others, lambda ours, theirs: torch.cat([ours[:1], theirs[1:]]))
    found = loss.results(joined)
    sentence = "with other scores and depth in the other images {}"
    for name, x in loss.results(batch).items():
        if x.ndim > 1:
            expect_same({name: found[name][:1]}, {name: x[:1]}, 10 * CLOSE, sentence)
