"""The divisors of a whole step: over micro-batches and processes."""

from __future__ import annotations

import gc
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import lwm_loss as lwm
from tests.processes import start
from tests.support import Scene, scene

WEIGHT = [0.5, 1.0, 3.0, 0.2, 2.0]


def uneven(images: int = 6) -> Scene:
    """Void and missing depth that differ much from image to image."""
    data = scene(images=images, size=(6, 7), ignored=0.1, missing=0.1)
    for image in range(images):
        data.target[image, :image] = 255
        data.target_depth[image, :, : image // 2] = 0
    return data


def objective() -> lwm.HardPixelMiningLoss:
    criterion = nn.CrossEntropyLoss(torch.tensor(WEIGHT), ignore_index=255, reduction="none")
    return lwm.HardPixelMiningLoss(0, criterion=criterion)


def network() -> nn.Module:
    """One weight for each class, and one for depth."""
    torch.manual_seed(1)
    return nn.Conv2d(5, 6, 1)


def step(net: nn.Module, parts: list[Scene], n: lwm.Normalizers) -> None:
    """Add the gradients of micro-batches that share their divisors."""
    for part in parts:
        output = net(part.logits)
        terms = objective()(
            output[:, :5],
            part.target,
            part.pred_depth + output[:, 5],
            part.target_depth,
            normalizer=n.normalizer,
            depth_normalizer=n.depth_normalizer,
        )
        terms.total.backward()


def one_batch() -> list[Tensor]:
    """The gradients of one batch of everything, by its own counts."""
    net, data = network(), uneven()
    output = net(data.logits)
    terms = objective()(
        output[:, :5], data.target, data.pred_depth + output[:, 5], data.target_depth
    )
    terms.total.backward()
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


def cut(data: Scene, *borders: int) -> list[Scene]:
    return [Scene(*(t[a:b] for t in data)) for a, b in itertools.pairwise(borders)]


def _worker(rank: int, borders: list[int], accumulate: bool, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(borders) - 1
    )
    own = cut(uneven(), borders[rank], borders[rank + 1])[0]
    size = len(own.target)
    parts = cut(own, 0, 1, size) if accumulate and size > 1 else [own]
    net = nn.parallel.DistributedDataParallel(network())
    n = lwm.global_normalizers(
        [part.target for part in parts],
        [part.target_depth for part in parts],
        ignore_index=255,
        class_weight=torch.tensor(WEIGHT),
    )
    with net.no_sync():
        step(net, parts[:-1], n)
    step(net, parts[-1:], n)
    if rank == 0:
        torch.save([parameter.grad for parameter in net.parameters()], f"{folder}/grads.pt")
    del net
    gc.collect()  # DDP must not outlive the group: https://github.com/pytorch/pytorch/issues/56297
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without distributed")
@pytest.mark.parametrize(
    ("borders", "accumulate"), [([0, 4, 6], False), ([0, 1, 3, 6], True)], ids=["two", "three"]
)
def test_processes_give_the_gradient_of_one(
    borders: list[int], accumulate: bool, tmp_path: Path
) -> None:
    start(_worker, (borders, accumulate, str(tmp_path)), len(borders) - 1)
    grads = torch.load(tmp_path / "grads.pt")
    for ours, whole in zip(grads, one_batch(), strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-6)


def test_micro_batches_give_the_gradient_of_one() -> None:
    net = network()
    parts = cut(uneven(), 0, 1, 3, 6)
    n = lwm.global_normalizers(
        [part.target for part in parts],
        [part.target_depth for part in parts],
        ignore_index=255,
        class_weight=torch.tensor(WEIGHT),
    )
    step(net, parts, n)
    for parameter, whole in zip(net.parameters(), one_batch(), strict=True):
        torch.testing.assert_close(parameter.grad, whole, rtol=1e-4, atol=1e-6)


def test_what_is_counted() -> None:
    data = uneven()
    labelled, known = data.target != 255, data.target_depth > 0
    n = lwm.global_normalizers(data.target, data.target_depth[:, None], ignore_index=255)
    assert (n.normalizer, n.depth_normalizer) == (labelled.sum(), known.sum())
    mask = torch.rand(known.shape) < 0.5
    masked = lwm.global_normalizers(data.target, data.target_depth, depth_mask=mask)
    assert masked.depth_normalizer == (known & mask).sum()
    assert masked.normalizer == data.target.numel()  # nothing has the label -100
    assert lwm.global_normalizers(data.target).depth_normalizer is None
    flags = torch.tensor([[[[1, 255]], [[255, 255]]]], dtype=torch.uint8)
    of_flags = lwm.global_normalizers(flags, ignore_index=255, task="multilabel")
    assert of_flags.normalizer == 1
    assert lwm.global_normalizers(flags[:, :1].float(), ignore_index=255, task="binary")[0] == 1
    shares = torch.tensor([[[[0.5, 0.0]], [[0.5, 0.0]]]])
    assert lwm.global_normalizers(shares, class_weight=torch.ones(2) * 9)[0] == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda t, d: lwm.global_normalizers([t, t], [d]),
            "`target_depth` of 2 batches, but got 1",
        ),
        (lambda t, d: lwm.global_normalizers([]), "`target` of at least one batches, but got 0"),
        (lambda t, d: lwm.global_normalizers(3), "`target`.*got int"),
        (lambda t, d: lwm.global_normalizers([t, None]), "`target`.*got NoneType"),
        (lambda t, d: lwm.global_normalizers(t, depth_mask=d > 0), "`target_depth` with"),
    ],
)
def test_the_sentence(call: object, words: str) -> None:
    target, depth = torch.zeros(1, 2, 2).long(), torch.ones(1, 2, 2)
    with pytest.raises((TypeError, ValueError), match=f"^Expected {words}"):
        call(target, depth)  # type: ignore[operator]


def test_ohem_over_kept_pixels_refuses_a_normalizer() -> None:
    data = uneven()
    for loss in (
        lwm.HardPixelLoss(
            nn.CrossEntropyLoss(ignore_index=255, reduction="none"),
            lwm.OHEMWeighting(ignore_index=255, mean_over="kept"),
        ),
        lwm.HardPixelMiningLoss(
            0, weighting=lwm.OHEMWeighting(ignore_index=255, mean_over="kept"), ignore_index=255
        ),
    ):
        loss(*data)
        with pytest.raises(ValueError, match=r"normalizer.*OHEMWeighting.*mean_over=\"labelled\""):
            loss(*data, normalizer=10.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_weight": "balanced"}, "`class_weight` to be a torch.Tensor, but got str"),
        ({"class_weight": torch.ones(3, 1)}, "`class_weight` of shape (C,)"),
        ({"class_weight": torch.ones(2)}, "one for each class weight, but got 2"),
        ({"ignore_index": "void"}, "`ignore_index` to be an int"),
        ({"target_depth": torch.ones(1, 2, 2).long()}, "`target_depth` to be floating point"),
        (
            {"target_depth": torch.ones(1, 2, 2), "depth_mask": torch.ones(1, 2, 2)},
            "`depth_mask` to be bool",
        ),
        (
            {"target_depth": torch.ones(1, 2, 2), "depth_mask": torch.ones(1, 2, 3) > 0},
            "`depth_mask` of the shape of `target_depth`",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_sentence(
    options: dict[str, Any], words: str
) -> None:
    target = torch.tensor([[[0, 2], [255, 1]]])
    with pytest.raises((TypeError, ValueError), match=re.escape(words)) as error:
        lwm.global_normalizers(target, **{"ignore_index": 255, **options})
    assert str(error.value).startswith("Expected ")


@pytest.mark.parametrize("value", [0.5, 0.01, torch.tensor(0.5)])
def test_a_normalizer_below_one_divides(value: float | Tensor) -> None:
    data = scene()
    objective = lwm.HardPixelMiningLoss(0, ignore_index=255)
    whole, part = (objective(*data, normalizer=n).segmentation for n in (1.0, value))
    torch.testing.assert_close(part * value, whole)


def test_the_group_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def double(counts: Tensor, group: object = None) -> None:
        asked.append(group)
        counts *= 8

    def size(group: object = None) -> int:
        asked.append(group)
        return 4

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", double)
    monkeypatch.setattr(dist, "get_world_size", size)
    found = lwm.global_normalizers(torch.zeros(1, 2, 3).long(), torch.ones(1, 2, 3), group="half")
    assert asked == ["half", "half"]
    assert found == (12, 12)
