"""One pass over frames against loops over pixels."""

import numpy as np
import pytest
import torch

from examples.study.measures import CALIBRATION_BINS, Measures
from examples.study.targets import centres, depth_edges, label_boundaries, mixed_flat_regions

VOID, CLASSES = 255, 4


def frames(count=3, size=(6, 8), seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, (count, *size))
    label[rng.random(label.shape) < 0.2] = VOID
    label[0][label[0] == 3] = 0  # a class that a frame does not have
    depth = rng.uniform(1, 200, label.shape).astype(np.float32)
    depth[rng.random(label.shape) < 0.1] = 0
    logits = rng.normal(size=(count, CLASSES, *size)).astype(np.float32)
    log_depth = rng.uniform(0, 5.5, label.shape).astype(np.float32)
    regions = rng.random((3, *label.shape)) < 0.4
    return label, depth, logits, log_depth, regions


def test_against_loops():
    label, depth, logits, log_depth, regions = frames()
    share = torch.tensor([0.5, 0.1, 0.3, 0.1 - 1e-3])
    measures = Measures(share)
    for part in (slice(0, 2), slice(2, 3)):
        measures.update(
            *(torch.from_numpy(each[part]) for each in (logits, log_depth, label, depth)),
            tuple(torch.from_numpy(each[part]) for each in regions),
        )
    found = measures.results()

    def iou(chosen, seen):
        values = []
        for c in range(CLASSES):
            both = either = labelled = 0
            for f in chosen:
                for y, x in np.ndindex(label.shape[1:]):
                    if label[f, y, x] == VOID:
                        continue
                    true, predicted = label[f, y, x] == c, logits[f, :, y, x].argmax() == c
                    both += true and predicted
                    either += true or predicted
                    labelled += true
            if labelled or (either and seen == "either"):
                values.append(both / either)
        return values

    assert found["miou"] == pytest.approx(100 * np.mean(iou(range(3), "either")))
    by_image = [np.mean(iou([f], "label")) for f in range(3)]
    assert found["image_miou"] == pytest.approx(100 * np.mean(by_image))
    whole = iou(range(3), "either")
    assert found["rare_miou"] == pytest.approx(100 * np.mean([whole[1], whole[3]]))
    right = logits.argmax(1) == label
    counted = label != VOID
    assert found["pixel_accuracy"] == pytest.approx(100 * right[counted].mean())
    for name, region in zip(("boundary", "depth_edge", "mixed_flat"), regions):
        assert found[f"{name}_accuracy"] == pytest.approx(100 * right[counted & region].mean())
    known = depth > 0
    gap = log_depth[known] - np.log(depth[known])
    assert found["log_depth_rmse"] == pytest.approx(np.sqrt((gap**2).mean()), rel=1e-5)
    assert found["log_depth_mae"] == pytest.approx(np.abs(gap).mean(), rel=1e-5)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    confidence = shares.max(1)
    error = 0.0
    for b in range(CALIBRATION_BINS):
        inside = counted & (np.floor(confidence * CALIBRATION_BINS) == b)
        error += abs((confidence[inside] - right[inside]).sum())
    assert found["calibration_error"] == pytest.approx(100 * error / counted.sum(), rel=1e-4)
    assert sum(found["depth_gap_total"]) == (counted & known).sum()
    assert sum(found["depth_gap_wrong"]) == (~right & counted & known).sum()


def test_boundaries_and_edges():
    label = torch.zeros(1, 5, 9, dtype=torch.long)
    label[..., 5:] = 1
    label[0, 0] = VOID
    found = label_boundaries(label)
    assert found[0, 2].nonzero().flatten().tolist() == [3, 4, 5, 6]
    depth = torch.full((1, 5, 9), 10.0)
    depth[..., 4:] = 12.0  # log ratio 0.18
    depth[0, 4, 0] = 0  # missing, no jump
    assert depth_edges(depth)[0, 2].tolist() == [
        False,
        False,
        True,
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert not depth_edges(depth.clamp(max=11.0)).any()  # log ratio 0.1
    assert not depth_edges(depth)[0, 4, 0]


def test_mixed_flat_regions():
    # Two cells of 8 x 8 pixels wide enough to tell: a picture on a wall; a chair before it.
    label = torch.zeros(1, 64, 64, dtype=torch.long)
    depth = torch.full((1, 64, 64), 50.0)
    label[0, 2:6, 2:6] = 1  # within cell (0, 0), flat, two classes
    label[0, 2:6, 18:22] = 1
    depth[0, 2:6, 18:22] = 20.0  # within cell (0, 2), but nearer
    label[0, 16, 16] = 1  # one pixel of cell (2, 2): below a tenth
    found = mixed_flat_regions(label, depth, 3)
    expected = torch.zeros_like(found)
    expected[0, :8, :8] = True
    assert torch.equal(found, expected)


def test_centres_are_those_of_blocks():
    values = np.arange(480)[:, None] * np.ones(640, int)
    assert centres(values, (60, 80))[:3, 0].tolist() == [4, 12, 20]
    assert centres(values, (120, 160))[:3, 0].tolist() == [2, 6, 10]
