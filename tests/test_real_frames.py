"""Maps of real depth and labels against the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from tests.support import assert_map, to_numpy

FRAMES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "nyudv2"
NUMBERS = (0, 5, 401, 1000)
NEAR, FAR = 0.5, 10.0

pytestmark = pytest.mark.skipif(
    not (FRAMES / "Depth").is_dir(),
    reason="the NYUDv2 frames are not beside this repository (../shared/data/nyudv2)",
)


def frame(number: int, step: int) -> tuple[Tensor, Tensor]:
    """Metres and labels (0..39, 255 unlabelled) of a frame, every step-th pixel."""
    image = pytest.importorskip("PIL.Image")
    millimetres = np.array(image.open(FRAMES / "Depth" / f"{number}.png"), dtype=np.float64)
    labels = np.array(image.open(FRAMES / "Label" / f"{number}.png"), dtype=np.int64)
    labels = np.where(labels == 0, 255, labels - 1)
    metres = torch.from_numpy(millimetres[::step, ::step] / 1000)
    # The depth here is in-painted; holes as a sensor leaves them.
    holes = torch.rand(metres.shape, generator=torch.Generator().manual_seed(number)) < 0.1
    return metres.masked_fill(holes, 0.0), torch.from_numpy(labels[::step, ::step].copy())


def prediction(metres: Tensor, labels: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Made-up logits, right at two pixels of three, and a made-up log-depth."""
    noise = torch.Generator().manual_seed(7)
    shape = labels.shape
    guess = torch.randint(0, 40, shape, generator=noise)
    right = (torch.rand(shape, generator=noise) < 0.67) & (labels < 40)
    guess = torch.where(right, labels, guess)
    logits = torch.randn((shape[0], 40, *shape[1:]), generator=noise, dtype=torch.float64)
    logits.scatter_(1, guess[:, None], 6.0)
    level = LF.rescale_depth(metres, NEAR, FAR).clamp(min=1.0)
    error = 0.2 * torch.randn(shape, generator=noise, dtype=torch.float64)
    return logits.to(dtype), (level.log() + error).to(dtype)


def batch(
    step: int, dtype: torch.dtype, numbers: tuple[int, ...] = NUMBERS
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels, log-depth and levels of the frames."""
    frames = [frame(number, step) for number in numbers]
    metres, labels = (torch.stack(parts) for parts in zip(*frames, strict=True))
    logits, log_depth = prediction(metres, labels, dtype)
    return logits, labels, log_depth, LF.rescale_depth(metres, NEAR, FAR).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_and_maps_are_the_oracles(dtype: torch.dtype) -> None:
    logits, labels, log_depth, levels = batch(step=12, dtype=dtype)
    metres = np.stack([frame(number, 12)[0].numpy() for number in NUMBERS])
    assert_map(levels, ref.rescale_depth(metres, NEAR, FAR), atol=1e-4)
    mining = ref.Mining(ignore_index=255)
    arrays = [to_numpy(tensor) for tensor in (logits, labels, log_depth, levels)]
    truth = ref.loss_weight(*arrays, mining)
    maps = lwm.LossWeightModule(ignore_index=255).maps(logits, labels, log_depth, levels)
    for ours, expected in zip(maps, truth, strict=True):
        assert_map(ours, expected, atol=1e-5)
    assert 0.2 < maps.dse[labels != 255].mean() < 0.45


@pytest.mark.slow
def test_objective_is_the_oracles() -> None:
    logits, labels, log_depth, levels = batch(step=24, dtype=torch.float64)
    sides = [logits[..., ::2, ::2], logits[..., ::4, ::4]]
    curriculum = lwm.SelfPacedCurriculum(4)
    curriculum.step()
    for resize in ("logits", "target"):
        objective = lwm.HardPixelMiningLoss(
            num_sides=2, curriculum=curriculum, ignore_index=255, resize=resize
        )
        terms = objective(logits, labels, log_depth, levels, side_logits=sides)
        truth = ref.total_loss(
            *(to_numpy(tensor) for tensor in (logits, labels, log_depth, levels)),
            [side.numpy() for side in sides],
            mining=ref.Mining(ignore_index=255),
            progress=0.25,
            resize=resize,
        )
        for name in ("total", "segmentation", "depth", "hard"):
            assert getattr(terms, name).item() == pytest.approx(getattr(truth, name), rel=1e-9)
        assert terms.sides.tolist() == pytest.approx(truth.sides, rel=1e-9)


@pytest.mark.slow
def test_z_of_whole_frames_by_another_route() -> None:
    # Full size, where the loops are too slow: regions by numpy's unique, errors by its bincount.
    logits, labels, _, levels = batch(step=1, dtype=torch.float32, numbers=(5,))
    ours = LF.depth_aware_segmentation_error(logits, labels, levels, ignore_index=255)
    height, width = labels.shape[1:]
    y, x = np.mgrid[:height, :width]
    bins = np.clip(np.floor((levels[0].double().numpy() - 1) / 10), 0, 25).astype(np.int64)
    keys = (y * 8 // height * 8 + x * 8 // width) * 26 + bins
    counted = (labels[0].numpy() != 255) & (levels[0].numpy() > 0)
    wrong = logits[0].argmax(0).numpy() != labels[0].numpy()
    _, region = np.unique(keys[counted], return_inverse=True)
    rate = np.bincount(region, wrong[counted]) / np.bincount(region)
    truth = np.zeros((1, height, width))
    truth[0][counted] = rate[region]
    assert_map(ours, truth)
