"""The public names, their defaults and what they promise as objects."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from tests.support import scene

NAMES = {
    "DepthAwareSegmentationError",
    "BatchReport",
    "DepthEdgeWeighting",
    "DepthPredictionError",
    "DepthWarning",
    "FocalWeighting",
    "Fusion",
    "HardPixelLoss",
    "HardPixelMiningLoss",
    "LabelBoundaryWeighting",
    "LogDepthMSELoss",
    "LossMaxPoolingWeighting",
    "LossWeightModule",
    "MultiTaskOutput",
    "Normalizers",
    "OHEMWeighting",
    "SelfPacedCurriculum",
    "Weighting",
    "functional",
    "global_normalizers",
    "validate",
}
FUNCTIONS = {
    "curriculum_threshold",
    "depth_aware_regions",
    "depth_aware_segmentation_error",
    "depth_edges",
    "depth_prediction_error",
    "fuse",
    "label_boundaries",
    "log_depth_mse_loss",
    "rescale_depth",
}
NOTHING = inspect.Parameter.empty
SIGNATURES: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (
        LF.depth_prediction_error,
        {
            "input": NOTHING,
            "target_depth": NOTHING,
            "log_input": True,
            "normalize": True,
            "depth_mask": None,
        },
    ),
    (
        LF.depth_aware_regions,
        {
            "target_depth": NOTHING,
            "cells": (8, 8),
            "bin_size": 10.0,
            "depth_range": (1.0, 256.0),
        },
    ),
    (
        LF.depth_aware_segmentation_error,
        {
            "input": NOTHING,
            "target": NOTHING,
            "target_depth": NOTHING,
            "cells": (8, 8),
            "bin_size": 10.0,
            "depth_range": (1.0, 256.0),
            "ignore_index": -100,
            "depth_mask": None,
        },
    ),
    (LF.fuse, {"dpe": NOTHING, "dse": NOTHING, "mode": "sum"}),
    (LF.curriculum_threshold, {"weight_map": NOTHING, "progress": NOTHING, "mask": None}),
    (
        LF.log_depth_mse_loss,
        {
            "input": NOTHING,
            "target_depth": NOTHING,
            "log_input": True,
            "depth_mask": None,
            "reduction": "mean",
        },
    ),
    (
        LF.rescale_depth,
        {"depth": NOTHING, "near": NOTHING, "far": NOTHING, "depth_range": (1.0, 256.0)},
    ),
    (lwm.DepthPredictionError, {"log_input": True, "normalize": True}),
    (
        lwm.DepthAwareSegmentationError,
        {"cells": (8, 8), "bin_size": 10.0, "depth_range": (1.0, 256.0), "ignore_index": -100},
    ),
    (lwm.Fusion, {"mode": "sum"}),
    (lwm.LogDepthMSELoss, {"log_input": True, "reduction": "mean"}),
    (lwm.SelfPacedCurriculum, {"epochs": NOTHING}),
    (
        lwm.LossWeightModule,
        {
            "cells": (8, 8),
            "bin_size": 10.0,
            "depth_range": (1.0, 256.0),
            "fusion": "sum",
            "ignore_index": -100,
            "log_input": True,
            "task": "multiclass",
            "error": "misclassified",
        },
    ),
    (
        lwm.HardPixelLoss,
        {
            "criterion": NOTHING,
            "weighting": NOTHING,
            "curriculum": None,
            "ignore_index": None,
            "sum_classes": False,
        },
    ),
    (
        lwm.HardPixelMiningLoss,
        {
            "num_sides": 4,
            "alpha": 1.0,
            "beta": 0.1,
            "weighting": None,
            "curriculum": None,
            "criterion": None,
            "ignore_index": -100,
            "resize": "logits",
        },
    ),
    (lwm.OHEMWeighting, {"threshold": 0.7, "min_kept": 10_000, "ignore_index": -100}),
    (lwm.FocalWeighting, {"gamma": 2.0, "ignore_index": -100}),
    (lwm.LossMaxPoolingWeighting, {"ratio": 0.3, "p": 1.7, "ignore_index": -100}),
    (
        lwm.DepthEdgeWeighting,
        {"threshold": 0.15, "radius": 8, "scale": 2.0, "ignore_index": -100, "task": "multiclass"},
    ),
    (
        lwm.LabelBoundaryWeighting,
        {"radius": 8, "scale": 2.0, "ignore_index": -100, "task": "multiclass"},
    ),
    (lwm.MultiTaskOutput, {"logits": NOTHING, "log_depth": None, "side_logits": ()}),
    (
        lwm.validate,
        {
            "logits": NOTHING,
            "target": NOTHING,
            "pred_depth": None,
            "target_depth": None,
            "ignore_index": -100,
            "log_input": True,
        },
    ),
]
MODULES: list[Callable[[], nn.Module]] = [
    lwm.DepthPredictionError,
    lwm.DepthAwareSegmentationError,
    lwm.Fusion,
    lwm.LogDepthMSELoss,
    lambda: lwm.SelfPacedCurriculum(4),
    lwm.LossWeightModule,
    lwm.HardPixelMiningLoss,
    lwm.OHEMWeighting,
    lwm.FocalWeighting,
    lwm.LossMaxPoolingWeighting,
    lwm.DepthEdgeWeighting,
    lwm.LabelBoundaryWeighting,
    lambda: lwm.HardPixelLoss(nn.CrossEntropyLoss(reduction="none"), lwm.LossWeightModule()),
]


def test_the_names_are_there() -> None:
    assert set(lwm.__all__) >= NAMES - {"functional"}
    assert all(hasattr(lwm, name) for name in lwm.__all__)
    assert set(LF.__all__) >= FUNCTIONS
    assert all(hasattr(LF, name) for name in LF.__all__)
    assert lwm.functional is LF
    assert isinstance(lwm.__version__, str)


@pytest.mark.parametrize(
    ("thing", "parameters"), SIGNATURES, ids=[thing.__name__ for thing, _ in SIGNATURES]
)
def test_signature(thing: Callable[..., Any], parameters: dict[str, Any]) -> None:
    given = inspect.signature(thing).parameters
    for name, default in parameters.items():
        assert name in given, name
        assert given[name].default == default, name
    # What may be passed by position comes first and in this order.
    positional = [
        name
        for name, parameter in given.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional == list(parameters)[: len(positional)]
    assert all(given[name].default is not NOTHING for name in given if name not in parameters)


@pytest.mark.parametrize(
    "weighting",
    [
        lwm.LossWeightModule,
        lwm.DepthEdgeWeighting,
        lwm.LabelBoundaryWeighting,
        lwm.OHEMWeighting,
        lwm.FocalWeighting,
    ],
)
def test_weightings_share_a_signature(weighting: type[nn.Module]) -> None:
    names = list(inspect.signature(weighting.forward).parameters)
    assert names[:5] == ["self", "logits", "target", "pred_depth", "target_depth"]


@pytest.mark.parametrize("build", MODULES)
def test_modules_can_be_made_copied_and_printed(build: Callable[[], nn.Module]) -> None:
    module = build()
    assert list(module.parameters()) == []
    assert type(module).__name__ in repr(module)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(twin) is type(module)
        assert repr(twin) == repr(module)
        twin.load_state_dict(module.state_dict())


def test_a_copy_gives_the_same_loss() -> None:
    data = scene(ignore_index=-100)
    objective = lwm.HardPixelMiningLoss(num_sides=0, curriculum=lwm.SelfPacedCurriculum(3))
    twin = pickle.loads(pickle.dumps(objective))
    assert torch.equal(twin(*data).total, objective(*data).total)


def test_reprs_name_the_settings() -> None:
    assert "cells=(4, 2)" in repr(lwm.LossWeightModule(cells=(4, 2)))
    assert "2.5" in repr(lwm.HardPixelMiningLoss(alpha=2.5))
    assert "7" in repr(lwm.SelfPacedCurriculum(7))


def test_multi_task_output() -> None:
    logits = torch.zeros(1, 2, 3, 3)
    output = lwm.MultiTaskOutput(logits)
    assert output == (logits, None, ())
    assert lwm.MultiTaskOutput._fields == ("logits", "log_depth", "side_logits")
    log_depth, sides = torch.zeros(1, 1, 3, 3), (logits,)
    assert lwm.MultiTaskOutput(logits, log_depth, sides).side_logits is sides


def test_terms() -> None:
    data = scene()
    terms = lwm.HardPixelMiningLoss(num_sides=0, ignore_index=255)(*data)
    assert terms._fields == ("total", "segmentation", "depth", "hard", "sides", "weight")
    assert terms.weight.shape == data.target.shape
    assert terms.sides.shape == (0,)


def test_maps_are_named() -> None:
    data = scene()
    maps = lwm.LossWeightModule(ignore_index=255).maps(*data)
    dpe, dse, weight = maps
    assert (maps.dpe is dpe, maps.dse is dse, maps.weight is weight) == (True, True, True)


def test_everything_public_says_what_it_is() -> None:
    for module, names in ((lwm, lwm.__all__), (LF, LF.__all__)):
        for name in names:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                text = inspect.getdoc(thing)
                assert text, name
                # A control character is a backslash of an equation that was not raw.
                assert text.isprintable() or all(c.isprintable() or c == "\n" for c in text), name


def test_train_and_eval_are_the_same() -> None:
    data = scene()
    objective = lwm.HardPixelMiningLoss(
        num_sides=0, ignore_index=255, curriculum=lwm.SelfPacedCurriculum(3)
    )
    trained = objective.train()(*data).total
    assert torch.equal(objective.eval()(*data).total, trained)


def test_a_call_leaves_no_trace() -> None:
    data = scene()
    objective = lwm.HardPixelMiningLoss(
        num_sides=0, ignore_index=255, curriculum=lwm.SelfPacedCurriculum(3)
    )
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    state = torch.get_rng_state()
    first = objective(*data).total
    second = objective(*data).total
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    after = objective.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_output_of_everything_a_network_returns() -> None:
    logits, log_depth, side = torch.zeros(1, 2, 3, 3), torch.ones(1, 3, 3), torch.ones(1, 2, 1, 1)
    of = lwm.MultiTaskOutput.of
    assert of(logits) == (logits, None, ())
    for kind in (tuple, list):
        assert of(kind([logits])) == (logits, None, ())
        assert of(kind([logits, log_depth])) == (logits, log_depth, ())
        assert of(kind([logits, log_depth, [side]])) == (logits, log_depth, (side,))
    assert of({"logits": logits, "side_logits": [side]}) == (logits, None, (side,))
    assert of(lwm.MultiTaskOutput(logits, log_depth)) == (logits, log_depth, ())
    for wrong in ((), [logits] * 4, {"out": logits}, 3, (3,), (logits, 3), (logits, None, [3])):
        with pytest.raises((TypeError, ValueError), match=r"^Expected a network"):
            of(wrong)


def test_the_functions_of_one_file_have_the_same_defaults() -> None:
    from lwm_loss.analysis import segmentation_error_by_depth_gap

    for function in (segmentation_error_by_depth_gap, lwm.global_normalizers):
        assert inspect.signature(function).parameters["ignore_index"].default == -100
