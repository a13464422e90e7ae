"""`--class-weights`: counted by loops, read from a file, and divided by as torch divides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

import lwm_loss as lwm
from examples.nyudv2.train import main as train
from examples.rgbd.class_weights import class_weights
from examples.rgbd.data import SAMPLE_VOID, VOID, Sample
from examples.rgbd.evaluation.scoring import evaluate
from examples.rgbd.objectives import build_objective
from examples.rgbd.options.groups import ObjectiveOptions, OptimisationOptions, OptionError
from examples.rgbd.run.checkpoint import LATEST, load_checkpoint
from examples.rgbd.run.schedule import Schedule, build_optimizer
from examples.rgbd.run.step import Part, TrainingStep
from tests.examples.accelerators import forget_accelerator

CLASSES = 5


def frames(number: int = 4, wide: bool = False) -> list[Sample]:
    """Frames of several sizes; no pixel is of class 3, and class 4 is in the first frame alone."""
    rng = np.random.default_rng(3)
    made = []
    for index in range(number):
        size = (6 + index, 7)
        label = rng.choice([0, 0, 0, 1, 2], size).astype(np.uint16 if wide else np.uint8)
        label[0, :3] = np.iinfo(label.dtype).max
        if index == 0:
            label[2, :2] = 4
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        made.append(Sample(image, label, rng.uniform(1, 5, size).astype(np.float32), str(index)))
    return made


def by_hand(option: str, shown: list[Sample]) -> list[float]:
    void = np.iinfo(shown[0].label.dtype).max
    maps = [[int(value) for value in frame.label.ravel() if value != void] for frame in shown]
    pixels = [sum(values.count(each) for values in maps) for each in range(CLASSES)]
    seen = [each for each in range(CLASSES) if pixels[each]]
    if option == "median-frequency":
        beside = [sum(len(values) for values in maps if each in values) for each in range(CLASSES)]
        frequency = {each: pixels[each] / beside[each] for each in seen}
        middle = median(frequency.values())
        weights = {each: middle / frequency[each] for each in seen}
    else:
        raw = {each: (pixels[each] / sum(pixels)) ** -0.5 for each in seen}
        weights = {each: raw[each] / (sum(raw.values()) / len(seen)) for each in seen}
    return [weights.get(each, 1.0) for each in range(CLASSES)]


@pytest.mark.parametrize("option", ["median-frequency", "inverse-sqrt"])
@pytest.mark.parametrize("wide", [False, True])
def test_weights_are_those_of_a_loop_over_the_labels(option: str, wide: bool) -> None:
    shown = frames(wide=wide)
    expected = by_hand(option, shown)
    assert class_weights(option, shown, CLASSES).tolist() == pytest.approx(expected)
    assert len({round(weight, 3) for weight in expected}) > 3


def test_a_file_has_one_number_for_each_class(tmp_path: Path) -> None:
    path = tmp_path / "weights.txt"
    path.write_text("0.5, 1\n2e0\t0 3.25\n")
    assert class_weights(str(path), [], CLASSES).tolist() == [0.5, 1, 2, 0, 3.25]
    assert class_weights("none", [], CLASSES) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 2 3", "each of the 5 classes, but got 3"),
        ("wall 1", "'wall'"),
        ("1 1 -1 1 1", "at least 0, but got -1"),
        ("1 1 nan 1 1", "finite and at least 0, but got nan"),
        ("0 0 0 0 0", "nothing but 0"),
        ("", "an empty file"),
        (b"\xff\xfe\xff", "it is not text"),
        (None, "median-frequency, inverse-sqrt or a text file of numbers"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(
    text: str | bytes | None, part: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OptionError) as error:
        class_weights(str(path), [], CLASSES)
    assert part in str(error.value)
    assert str(error.value).count("Expected") == 1


def test_nothing_can_be_counted_without_labels() -> None:
    blank = [
        frame._replace(label=np.full_like(frame.label, SAMPLE_VOID)) for frame in frames(number=1)
    ]
    with pytest.raises(OptionError, match="have none"):
        class_weights("inverse-sqrt", blank, CLASSES)


# --- what they do -------------------------------------------------------------------------------


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    yield Accelerator(cpu=True, gradient_accumulation_steps=2)
    forget_accelerator()


class Pixelwise(nn.Module):
    """Scores and log-depth of every pixel by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.scores, self.depth = nn.Conv2d(3, CLASSES, 1), nn.Conv2d(3, 1, 1)

    def forward(self, image: Tensor) -> lwm.MultiTaskOutput:
        return lwm.MultiTaskOutput(self.scores(image), self.depth(image)[:, 0])


def part(images: int, seed: int) -> Part:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES, (images, 8, 8), generator=generator)
    label[0, :seed] = VOID
    depth = 1 + 200 * torch.rand(images, 8, 8, generator=generator)
    return Part(torch.randn(images, 3, 8, 8, generator=generator), label, depth, None, None)


WEIGHT = torch.tensor([0.2, 3.0, 1.0, 0.0, 0.7])


@pytest.mark.parametrize(
    ("options", "times"),
    [({"objective": "s"}, 1.0), ({"objective": "sd+rz", "control": "double-s", "alpha": 0.5}, 1.5)],
)
def test_a_step_in_parts_has_the_gradient_of_the_cross_entropy_of_torch(
    options: dict[str, Any], times: float, accelerator: Accelerator
) -> None:
    parts = [part(1, 3), part(2, 6)]
    expected = Pixelwise()
    image, label = (torch.cat([getattr(each, name) for each in parts]) for name in Part._fields[:2])
    loss = nn.CrossEntropyLoss(WEIGHT, ignore_index=VOID)(expected(image).logits, label)
    (times * loss).backward()

    objective, curriculum = build_objective(ObjectiveOptions(**options), 3, WEIGHT)
    constant = OptimisationOptions(schedule="constant", lr=0.5, momentum=0, weight_decay=0)
    network = Pixelwise()
    before = network.scores.weight.detach().clone()
    model, optimizer = accelerator.prepare(
        network, build_optimizer([{"params": list(network.scores.parameters())}], constant)
    )
    step = TrainingStep(
        model, objective, curriculum, optimizer, Schedule(optimizer, constant, 1), accelerator,
        limits=(0.5, 8.0), class_weight=WEIGHT,
    )  # fmt: skip
    terms = step(parts)
    assert terms[1].item() == pytest.approx(loss.item(), rel=1e-6)
    moved = before - network.scores.weight.detach()
    torch.testing.assert_close(moved, 0.5 * expected.scores.weight.grad)


def test_the_held_out_loss_is_weighted_alike(accelerator: Accelerator) -> None:
    shown, network = frames(), Pixelwise().eval()

    def score(weight: Tensor | None) -> float:
        return evaluate(
            network, shown, num_classes=CLASSES, image_size=(8, 8), limits=(0.5, 8.0),
            accelerator=accelerator, class_weight=weight,
        ).loss  # fmt: skip

    assert score(torch.full((CLASSES,), 3.0)) == pytest.approx(score(None))
    # Of a weighted mean of two classes the divisor is the sum of the weights of both.
    one, other = (score(torch.eye(CLASSES)[each]) for each in (0, 4))
    labels = np.concatenate([frame.label.ravel() for frame in shown])
    count, few = (labels == 0).sum(), 3 * (labels == 4).sum()
    both = score(torch.tensor([1.0, 0, 0, 0, 3]))
    assert both == pytest.approx((count * one + few * other) / (count + few))
    assert one != pytest.approx(other)


@pytest.mark.slow
def test_a_run_keeps_the_weights_that_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.txt").write_text(" ".join(str(1 + each / 8) for each in range(13)))
    tiny = [
        *("--rooms", "4", "--test-rooms", "1", "--image-size", "32x32", "--batch-size", "2"),
        *("--width", "8", "--panels", "0", "--device", "cpu", "--schedule", "constant"),
        *("--objective", "s", "--epochs", "1", "--class-weights", "weights.txt"),
    ]
    train([*tiny, "--output", "run"])
    begun = [1 + each / 8 for each in range(13)]
    assert json.loads(Path("run/config.json").read_text())["class_weights"] == begun
    forget_accelerator()
    Path("weights.txt").unlink()
    train(["--resume", "run", "--epochs", "2"])
    forget_accelerator()
    assert load_checkpoint(Path("run") / LATEST)["class_weight"].tolist() == begun
    assert json.loads(Path("run/config.json").read_text())["class_weights"] == begun
