"""The file that a researcher opens first: short, and it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples import minimal_train


def test_it_is_short_and_reads_like_one_loop():
    source = Path(minimal_train.__file__).read_text()
    assert len(source.splitlines()) <= 120
    assert "accelerate" not in source


def test_the_network_predicts_at_the_size_of_the_image_and_at_an_eighth():
    output = minimal_train.Network(5, width=4)(torch.rand(2, 3, 32, 48))
    assert output.logits.shape == (2, 5, 32, 48)
    assert output.log_depth.shape == (2, 32, 48)
    assert [side.shape for side in output.side_logits] == [(2, 5, 4, 6)]


def test_mean_iou_counts_over_the_whole_split_and_leaves_void_out():
    class Constant(torch.nn.Module):
        def forward(self, image):
            logits = torch.zeros(len(image), 13, 1, 4)
            logits[:, 0] = 1.0
            return minimal_train.lwm.MultiTaskOutput(logits)

    label = torch.tensor([[[0, 0, 1, minimal_train.VOID]]])
    batch = (torch.zeros(1, 3, 1, 4), label, torch.zeros(1, 1, 4))
    assert minimal_train.mean_iou(Constant(), [batch, batch]) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.slow
def test_it_trains(capsys):
    score = minimal_train.main(["--epochs", "2", "--rooms", "8", "--batch-size", "4"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["epoch  1", "epoch  2"]
    losses = [float(line.split("L_s ")[1].split()[0]) for line in lines[:2]]
    assert losses[1] < losses[0]
    assert 0 < score < 1
