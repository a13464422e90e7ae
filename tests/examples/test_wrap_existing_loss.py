"""The shortest use of the library: what it computes, what it trains, and that it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from examples import wrap_existing_loss
from lwm_loss.testing import reference


@pytest.fixture
def batch():
    """Logits, labels with ignored pixels, log-depth, and metres with holes."""
    logits = torch.randn(2, 3, 10, 12, dtype=torch.float64, requires_grad=True)
    log_depth = (torch.rand(2, 10, 12, dtype=torch.float64) * 5).requires_grad_()
    target = torch.randint(3, (2, 10, 12))
    target[:, :2] = 255
    metres = torch.rand(2, 10, 12, dtype=torch.float64) * 12
    metres[:, :, :3] = 0
    return logits, target, log_depth, metres


def test_the_total_is_own_loss_and_depth_loss_and_hard_pixel_loss(batch):
    logits, target, log_depth, metres = batch
    scores, depth = logits.detach().numpy(), log_depth.detach().numpy()
    levels = reference.rescale_depth(metres.numpy(), near=0.5, far=10.0)
    per_pixel = reference.cross_entropy(scores, target.numpy(), ignore_index=255)
    mining = reference.Mining(ignore_index=255)
    weight = reference.loss_weight(scores, target.numpy(), depth, levels, mining).weight
    own = reference.weighted_loss(weight * 0 + 1, per_pixel, target.numpy(), ignore_index=255)
    hard = reference.weighted_loss(weight, per_pixel, target.numpy(), ignore_index=255)
    expected = own + reference.log_depth_mse(depth, levels) + hard

    actual = wrap_existing_loss.total_loss(*batch)

    assert hard > 0
    assert actual.item() == pytest.approx(expected, rel=1e-9)


def test_hard_pixels_pull_harder_at_the_scores_and_missing_labels_not_at_all(batch):
    logits, target, log_depth, metres = batch
    wrap_existing_loss.total_loss(*batch).backward()

    scores, depth = logits.detach().numpy(), log_depth.detach().numpy()
    levels = reference.rescale_depth(metres.numpy(), near=0.5, far=10.0)
    mining = reference.Mining(ignore_index=255)
    weight = reference.loss_weight(scores, target.numpy(), depth, levels, mining).weight
    labelled = target != 255
    truth = torch.nn.functional.one_hot(target % 255, 3).movedim(-1, 1)
    pull = torch.where(labelled, 1 + torch.from_numpy(weight), 0) / labelled.sum()
    expected = (logits.detach().softmax(1) - truth) * pull.unsqueeze(1)
    torch.testing.assert_close(logits.grad, expected)


def test_the_depth_learns_from_its_own_loss_alone(batch):
    _, _, log_depth, metres = batch
    wrap_existing_loss.total_loss(*batch).backward()

    known = metres > 0
    levels = torch.from_numpy(reference.rescale_depth(metres.numpy(), near=0.5, far=10.0))
    gap = torch.where(known, log_depth.detach() - levels.clamp(min=1).log(), 0)
    assert bool((gap != 0).any())
    torch.testing.assert_close(log_depth.grad, 2 * gap / known.sum())


LINE = re.compile(r"(.{44}) +(\d+\.\d{3}) +(\d+\.\d{3})")


@pytest.mark.slow
def test_it_runs_as_a_program_and_shows_what_it_did(tmp_path):
    root = Path(__file__).resolve().parents[2]
    picture = tmp_path / "maps.png"
    command = [sys.executable, "-m", "examples.wrap_existing_loss", "--picture", str(picture)]
    run = subprocess.run(
        [*command, "--steps", "5"], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) <= 10
    figures = {
        row[1].strip(): (float(row[2]), float(row[3]))
        for line in lines
        if (row := LINE.match(line))
    }
    before, after = figures["plain loss, L_s"]
    assert after < before
    plain, mined = (
        figures[f"weight on the hardest tenth, %: {kind}"] for kind in ("plain", "mined")
    )
    assert plain == pytest.approx((10, 10), abs=0.1)
    assert mined[1] > plain[1]
    with Image.open(picture) as drawn:
        assert min(drawn.size) > 300


def test_the_share_of_weight_on_the_hardest_tenth():
    target = torch.arange(20).reshape(1, 2, 10) % 2
    target[0, 0, 0] = 255
    logits = torch.zeros(1, 2, 2, 10)
    logits[0, 1, 0, 2] = 5.0  # label 0: the pixel with the largest loss
    weight = torch.ones(1, 2, 10)
    weight[0, 0, 2] = 7.0
    weight[0, 0, 0] = 1000.0  # ignored
    share = wrap_existing_loss.weight_on_hardest(logits, target, weight)
    assert share == pytest.approx(7 / 25)  # 19 labelled pixels: one is a tenth; 18 x 1 + 7
