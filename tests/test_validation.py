"""What `validate` says of a batch, above all of depth in a wrong unit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lwm_loss as lwm
import lwm_loss.functional as LF
from tests.support import scene

FRAMES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def room(seed: int = 0) -> Tensor:
    """Metres of a floor that comes nearer and a wall behind it, with a box in front."""
    noise = torch.Generator().manual_seed(seed)
    metres = torch.linspace(4.5, 1.2, 40)[None, :, None].repeat(1, 1, 60)
    metres[:, 10:25, 20:35] = 1.8
    return metres + 0.05 * torch.rand(metres.shape, generator=noise)


def report(
    depth: Tensor, pred_depth: Tensor | None = None, log_input: bool = True
) -> lwm.BatchReport:
    """The report of a batch of this depth, without its warnings."""
    depth = depth.float()
    target = torch.zeros(depth.shape, dtype=torch.long)
    logits = torch.zeros(len(depth), 2, *depth.shape[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lwm.DepthWarning)
        return lwm.validate(logits, target, pred_depth, depth, log_input=log_input)


METRES = room()
LEVELS = LF.rescale_depth(METRES, 0.5, 10.0)


def filled(value: float) -> Tensor:
    """An augmentation moved the image and filled in a value at its border."""
    depth = LEVELS.clone()
    depth[..., :8] = value
    return depth


WRONG: dict[str, tuple[Tensor, list[str]]] = {
    "metres": (METRES, ["metres", "rescale_depth"]),
    "millimetres": (METRES * 1000, ["millimetres", "rescale_depth"]),
    "centimetres": (METRES * 100, ["centimetres"]),
    "centimetres near by": ((METRES * 250).round() / 10, ["whole tenths", "centimetres"]),
    "centimetres, few too far": (METRES.clamp(max=2.5) * 100 + 10 * (METRES > 4.45), ["above"]),
    "a log": (LEVELS.log(), ["log", "exp()"]),
    "a log of metres": (METRES.log(), ["log"]),
    "an inverse": (1 / LEVELS, ["inverse"]),
    "an inverse of metres": (1 / METRES, ["inverse"]),
    "filled with 255": (filled(255.0), ["13% ", "255", "augmentation", "0, which is missing"]),
    "filled with the end": (filled(256.0), ["256", "augmentation"]),
    "filled with 1": (filled(1.0), ["augmentation"]),
    "no depth": (torch.zeros(1, 40, 60), ["No depth is known"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_depth_is_named(case: str) -> None:
    depth, words = WRONG[case]
    (finding,) = report(depth).findings
    for word in words:
        assert word in finding, finding


def noisy(size: float) -> Tensor:
    """Factors about 1."""
    noise = torch.randn(METRES.shape, generator=torch.Generator().manual_seed(2))
    return (1 + size * noise).clamp(min=0.2)


def learnt(share: float) -> Tensor:
    """A log-depth that has this share of the true one's contrast, and noise."""
    log = LEVELS.log()
    return log.mean() + share * (log - log.mean()) + noisy(0.2).log()


def in_place(values: Tensor, contrast: float) -> Tensor:
    """Values with the median of the true log and this share of its contrast."""
    log = LEVELS.log()
    return log.median() + contrast * log.std() / values.std() * (values - values.median())


PREDICTIONS: dict[str, tuple[Tensor, bool, str]] = {
    "levels": (LEVELS, True, "no log-depth"),
    "millimetres": (METRES * 1000, True, "no log-depth"),
    "metres": (METRES, True, "follows the scale of"),
    "an inverse": (1 / LEVELS, True, "follows the inverse of"),
    "metres, noisy": (METRES * noisy(0.1), True, "follows"),
    "metres over the farthest": (METRES / 10, True, "follows"),
    "a log of metres": ((METRES * noisy(0.1)).log(), True, "follows the log of"),
    "an inverse, noisy": (1 / (METRES * noisy(0.1)), True, "follows the inverse of"),
    "a log": (LEVELS.log() + 0.05, False, "log_input=True"),
    # In place and no steeper than the log: only the form tells.
    "a straight line": (in_place(LEVELS, 1.0), True, "follows the scale of"),
    "an inverse in place": (
        in_place(1 / (LEVELS * noisy(0.1)), 0.5),
        True,
        "follows the inverse of",
    ),
    # The right form in the right place.
    "a steep log": (in_place(LEVELS.log(), 3.0), True, "changes 3 times as much"),
}


@pytest.mark.parametrize("case", PREDICTIONS)
def test_a_prediction_in_the_wrong_form_is_named(case: str) -> None:
    predicted, log_input, word = PREDICTIONS[case]
    (finding,) = report(LEVELS, predicted, log_input).findings
    assert "`pred_depth`" in finding
    assert word in finding


RIGHT: dict[str, Callable[[], lwm.BatchReport]] = {
    "levels": lambda: report(LEVELS, LEVELS.log() + 0.3),
    "with holes": lambda: report(torch.where(torch.rand(LEVELS.shape) < 0.4, 0, LEVELS)),
    "a flat wall": lambda: report(torch.full((1, 20, 30), 54.0)),
    "a flat wall near by": lambda: report(torch.full((1, 20, 30), 1.7) + 0.05 * torch.rand(20, 30)),
    "a flat wall at the end": lambda: report(torch.full((1, 20, 30), 256.0)),
    "a wall in one step of a sensor": lambda: report(
        torch.cat([LEVELS, torch.full((1, 40, 9), 6.2), torch.full((1, 40, 1), 7.2)], 2)
    ),
    "mostly clamped": lambda: report(LF.rescale_depth(METRES, 0.5, 1.7)),
    "levels in bytes": lambda: report(LEVELS.round()),
    "half learnt": lambda: report(LEVELS, learnt(0.5)),
    "learnt": lambda: report(LEVELS, learnt(1.0)),
    "a gradient by chance": lambda: report(LEVELS, torch.linspace(1, -1, 60).expand(1, 40, 60)),
    "clamped": lambda: report(LF.rescale_depth(METRES, 0.5, 4.3)),
    "an untrained network": lambda: report(LEVELS, torch.randn(LEVELS.shape)),
    "zeros": lambda: report(LEVELS, torch.zeros(LEVELS.shape)),
    "a network of depth": lambda: report(LEVELS, torch.ones(LEVELS.shape), log_input=False),
    "few pixels": lambda: report(torch.tensor([[[0.7, 2.0, 5.0]]])),
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_right_batch_is_silent(case: str) -> None:
    assert RIGHT[case]().findings == ()


@pytest.mark.skipif(not FRAMES.is_dir(), reason="there are no real frames in ../shared/data")
def test_real_frames_are_silent_in_levels_and_found_in_metres() -> None:
    image = pytest.importorskip("PIL.Image")
    paths = sorted((FRAMES / "nyudv2" / "Depth").glob("*.png"))[::150]
    frames = [np.array(image.open(path), dtype=np.float64) / 1000 for path in paths]
    for path in sorted((FRAMES / "sunrgbd_frames").glob("**/depth_bfx/*.png"))[:2]:
        turned = np.array(image.open(path), dtype=np.uint16)
        frames.append(((turned >> 3) | (turned << 13)).astype(np.float64) / 1000)
    assert frames
    for metres in frames:
        depth = torch.from_numpy(metres[::6, ::6].copy())[None]
        levels = LF.rescale_depth(depth, 0.5, 10.0)
        assert report(levels).findings == ()
        assert report(torch.where(torch.rand(levels.shape) < 0.3, 0, levels)).findings == ()
        assert "metres" in report(depth).findings[0]
        assert "millimetres" in report(depth * 1000).findings[0]
        assert "centimetres" in report(depth * 100).findings[0]
        noise = 1 + 0.05 * torch.randn(depth.shape)
        log = levels.clamp(min=1).log()
        assert report(levels, log + noise.log()).findings == ()
        for wrong in (depth * noise, 1 / (depth * noise), (depth * noise).log()):
            assert "follows" in report(levels, torch.where(depth > 0, wrong, 1)).findings[0]


def test_the_numbers_of_a_report() -> None:
    logits = torch.zeros(1, 2, 1, 40)
    target = torch.ones(1, 1, 40, dtype=torch.long)
    target[..., :10] = 255
    values = [0.0] * 4 + [0.5] * 6 + torch.linspace(5, 200, 29).tolist() + [300.0]
    depth = torch.tensor(values).reshape(1, 1, 40)
    log_depth = torch.where(depth > 0, depth, 1).log()
    log_depth[..., 20] += 2.5
    weighting = lwm.LossWeightModule(ignore_index=255)
    curriculum = lwm.SelfPacedCurriculum(4)
    seen = report_of = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lwm.DepthWarning)
        seen = lwm.validate(
            logits, target, log_depth, depth, weighting=weighting, curriculum=curriculum
        )
        curriculum.set_epoch(4)
        report_of = lwm.validate(
            logits, target, log_depth, depth, weighting=weighting, curriculum=curriculum
        )
    assert seen.labelled == 0.75
    assert seen.known == 0.9
    assert seen.below == pytest.approx(6 / 36)
    assert seen.above == pytest.approx(1 / 36)
    assert seen.bins == 26
    assert seen.bins_used == len({min(int((d - 1) // 10), 25) for d in values if d > 1} | {0})
    assert seen.log_depth_error == pytest.approx(2.5)
    assert seen.mean_z == 1.0
    assert seen.kept is not None
    assert seen.kept < 0.5
    assert report_of.kept == 1.0
    lines = str(seen).splitlines()
    assert lines[0].split() == ["labelled", "pixels", "75.0%"]
    assert lines[-1].startswith("! `target_depth` lies in")


def test_findings_are_warned() -> None:
    logits, target = torch.zeros(1, 2, 40, 60), torch.zeros(1, 40, 60, dtype=torch.long)
    with pytest.warns(lwm.DepthWarning, match="metres") as caught:
        seen = lwm.validate(logits, target, None, METRES)
    assert [str(warning.message) for warning in caught] == list(seen.findings)
    assert caught[0].filename == __file__


def test_the_weighting_says_what_counts() -> None:
    data = scene()
    seen = lwm.validate(*data, weighting=lwm.LossWeightModule(ignore_index=255, cells=(1, 1)))
    assert seen.labelled == pytest.approx(float((data.target != 255).double().mean()))
    binary = lwm.LossWeightModule(task="binary", ignore_index=255)
    flags = torch.where(data.target == 255, 255, data.target.clamp(max=1))
    assert lwm.validate(data.logits[:, :1], flags, *data[2:], weighting=binary).findings == ()
    with pytest.raises(ValueError, match="`ignore_index` of the weighting, 255, but got 0"):
        lwm.validate(*data, ignore_index=0, weighting=binary)
    assert math.isfinite(seen.mean_z)
