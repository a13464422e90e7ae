"""torch.compile without a break, fake tensors, and vmap."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode

import lwm_loss as lwm
import lwm_loss.functional as LF
from tests.support import Scene, scene


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def cross_entropy() -> nn.CrossEntropyLoss:
    return nn.CrossEntropyLoss(ignore_index=255, reduction="none")


SUBJECTS: dict[str, Callable[[], nn.Module]] = {
    "wrapper": lambda: lwm.HardPixelLoss(cross_entropy(), lwm.LossWeightModule(ignore_index=255)),
    "wrapper, pixel cells": lambda: lwm.HardPixelLoss(
        cross_entropy(), lwm.LossWeightModule(cells="pixel", ignore_index=255)
    ),
    "wrapper, curriculum": lambda: lwm.HardPixelLoss(
        cross_entropy(), lwm.LossWeightModule(ignore_index=255), lwm.SelfPacedCurriculum(3)
    ),
    "objective": lambda: Whole(lwm.HardPixelMiningLoss(num_sides=2, ignore_index=255)),
    "objective, targets resized": lambda: Whole(
        lwm.HardPixelMiningLoss(
            num_sides=2,
            ignore_index=255,
            curriculum=lwm.SelfPacedCurriculum(3),
            resize="target",
        )
    ),
    "ohem": lambda: lwm.HardPixelLoss(
        cross_entropy(), lwm.OHEMWeighting(min_kept=20, ignore_index=255)
    ),
    "depth edges": lambda: lwm.HardPixelLoss(
        cross_entropy(), lwm.DepthEdgeWeighting(radius=2, ignore_index=255)
    ),
    "label boundaries": lambda: lwm.HardPixelLoss(
        cross_entropy(), lwm.LabelBoundaryWeighting(radius=2, ignore_index=255)
    ),
    "outlines": lambda: lwm.HardPixelLoss(
        cross_entropy(),
        lwm.DepthEdgeWeighting(radius=2, ignore_index=255, boundaries_only=True),
    ),
    "focal": lambda: lwm.HardPixelLoss(cross_entropy(), lwm.FocalWeighting(ignore_index=255)),
    "loss max-pooling": lambda: lwm.HardPixelLoss(
        cross_entropy(), lwm.LossMaxPoolingWeighting(ignore_index=255)
    ),
}
BY_NAME = pytest.mark.parametrize("name", SUBJECTS)


class Whole(nn.Module):
    """The objective's total, its sides cut out of the logits."""

    def __init__(self, objective: lwm.HardPixelMiningLoss) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, logits: Tensor, *rest: Tensor) -> Tensor:
        sides = [logits[..., ::2, ::2], logits[..., ::3, ::3]]
        return self.objective(logits, *rest, side_logits=sides).total


def with_gradients(
    loss: Callable[..., Tensor], data: Scene
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The loss and its gradients by logits and predicted depth."""
    logits = data.logits.detach().requires_grad_()
    log_depth = data.pred_depth.detach().requires_grad_()
    value = loss(logits, data.target, log_depth, data.target_depth)
    return value, *torch.autograd.grad(value, (logits, log_depth), allow_unused=True)


@pytest.mark.slow
@BY_NAME
def test_compiled_is_eager(name: str) -> None:
    subject = SUBJECTS[name]()
    compiled = torch.compile(subject, fullgraph=True, backend="aot_eager")
    data = scene()
    eager = with_gradients(subject, data)
    for one, other in zip(with_gradients(compiled, data), eager, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [0.0, 1.1])
def test_compiled_with_all_or_nothing_ignored(ignored: float) -> None:
    subject = SUBJECTS["objective"]()
    compiled = torch.compile(subject, fullgraph=True, backend="aot_eager")
    data = scene(ignored=ignored)
    for one, other in zip(
        with_gradients(compiled, data), with_gradients(subject, data), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wrapper, curriculum", "objective, targets resized"])
def test_a_step_of_the_curriculum_does_not_recompile(name: str) -> None:
    subject = SUBJECTS[name]()
    curriculum = next(m for m in subject.modules() if isinstance(m, lwm.SelfPacedCurriculum))
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(subject, fullgraph=True, backend=counter)
    data = scene()
    seen = []
    for _ in range(5):
        value = compiled(*data)
        torch.testing.assert_close(value, subject(*data))
        seen.append(value.item())
        curriculum.step()
    assert counter.frame_count == 1
    assert seen[0] < seen[1] < seen[2] < seen[3] == seen[4]
    curriculum.reset()
    assert compiled(*data).item() == seen[0]
    curriculum.load_state_dict({**curriculum.state_dict()})
    compiled(*data)
    assert counter.frame_count == 1


@pytest.mark.slow
def test_compiled_training_step_with_a_network() -> None:
    net = nn.Conv2d(3, 6, 3, padding=1)
    objective = lwm.HardPixelMiningLoss(num_sides=0, ignore_index=255)
    data = scene()
    images = torch.randn(2, 3, 13, 17)

    def step(images: Tensor) -> Tensor:
        out = net(images)
        return objective(out[:, :5], data.target, out[:, 5:], data.target_depth).total

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), step(images))


FUNCTIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "dpe": lambda x, y, d, t: LF.depth_prediction_error(d, t),
    "raw dpe": lambda x, y, d, t: LF.depth_prediction_error(d, t, normalize=False),
    "regions": lambda x, y, d, t: LF.depth_aware_regions(t),
    "dse": lambda x, y, d, t: LF.depth_aware_segmentation_error(x, y, t, ignore_index=255),
    "dse, pixel": lambda x, y, d, t: LF.depth_aware_segmentation_error(
        x, y, t, cells="pixel", ignore_index=255
    ),
    "dse, labels": lambda x, y, d, t: LF.depth_aware_segmentation_error(
        x.argmax(1), y, t, ignore_index=255
    ),
    "fuse": lambda x, y, d, t: LF.fuse(d.abs(), t.abs(), "max"),
    "threshold": lambda x, y, d, t: LF.curriculum_threshold(t, 0.5, mask=y != 255),
    "depth loss": lambda x, y, d, t: LF.log_depth_mse_loss(d, t),
    "rescale": lambda x, y, d, t: LF.rescale_depth(t, 1.0, 100.0),
}


@pytest.mark.slow
def test_functional_forms_compile() -> None:
    def forms(*data: Tensor) -> dict[str, Tensor]:
        return {name: form(*data) for name, form in FUNCTIONS.items()}

    compiled = torch.compile(forms, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*scene()), forms(*scene()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap_is_a_loop(name: str) -> None:
    scenes = [scene(seed=k, size=(7, 9)) for k in range(3)]
    stacked = [torch.stack(parts) for parts in zip(*scenes, strict=True)]
    mapped = torch.func.vmap(FUNCTIONS[name])(*stacked)
    looped = torch.stack([FUNCTIONS[name](*data) for data in scenes])
    torch.testing.assert_close(mapped, looped)


def test_per_sample_gradients() -> None:
    data = scene(images=3, missing=0.0)
    grad = torch.func.grad(lambda d, t: LF.log_depth_mse_loss(d[None], t[None]))
    mapped = torch.func.vmap(grad)(data.pred_depth, data.target_depth)
    looped = torch.stack([grad(*pair) for pair in zip(data[2], data[3], strict=True)])
    torch.testing.assert_close(mapped, looped)


@BY_NAME
def test_fake_tensors_find_no_host_synchronisation(name: str) -> None:
    data = scene()
    subject = SUBJECTS[name]()
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    fakes = Scene(*(mode.from_tensor(tensor) for tensor in data))
    for module in subject.modules():
        for key, buffer in module.named_buffers(recurse=False):
            module.register_buffer(key, mode.from_tensor(buffer))
    with mode:
        value, by_logits, _ = with_gradients(subject, fakes)
    assert value.shape == ()
    assert by_logits.shape == data.logits.shape


# Importing inductor touches a deprecated corner of torch itself.
@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")),
    reason="inductor builds its CPU kernels with a C++ compiler, and there is none here",
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_inductor() -> None:
    subject = SUBJECTS["wrapper"]()
    compiled = torch.compile(subject, fullgraph=True)
    data = scene()
    for one, other in zip(
        with_gradients(compiled, data), with_gradients(subject, data), strict=True
    ):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Step(nn.Module):
    """The total of an objective, to be exported."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        curriculum = lwm.SelfPacedCurriculum(3)
        self.objective = lwm.HardPixelMiningLoss(1, curriculum=curriculum, **options)

    def forward(self, logits: Tensor, target: Tensor, log_depth: Tensor, depth: Tensor) -> Tensor:
        return self.objective(logits, target, log_depth, depth, [logits]).total


EXPORTED: dict[str, Callable[[], dict[str, Any]]] = {
    "defaults": dict,
    "soft": lambda: {"weighting": lwm.LossWeightModule(error="probability", ignore_index=255)},
    "pixel": lambda: {"weighting": lwm.LossWeightModule(cells="pixel", ignore_index=255)},
    "foreign": lambda: {
        "weighting": lwm.LossWeightModule(ignore_index=255),
        "criterion": lambda a, b: nn.functional.cross_entropy(a, b, reduction="none"),
    },
}


def export(module: nn.Module, inputs: Sequence[Tensor], least: int) -> nn.Module:
    """The module for any batch and any size from `least` on; (B, C, H, W) comes first, then maps."""
    batch = torch.export.Dim("batch", min=1, max=64)
    height, width = (torch.export.Dim(name, min=least, max=4096) for name in ("height", "width"))
    maps = [{0: batch, 1: height, 2: width}] * (len(inputs) - 1)
    shapes = ({0: batch, 2: height, 3: width}, *maps)
    return torch.export.export(module, tuple(inputs), dynamic_shapes=shapes).module()


@pytest.mark.slow
@pytest.mark.parametrize("case", EXPORTED)
def test_export_with_a_dynamic_batch_and_dynamic_sizes(case: str) -> None:
    module = Step(ignore_index=255, **EXPORTED[case]())
    exported = export(module, scene(images=3, size=(16, 24)), least=2)
    for images, size in ((3, (16, 24)), (1, (16, 24)), (5, (11, 30))):
        data = scene(images=images, size=size, seed=images)
        torch.testing.assert_close(exported(*data), module(*data))


class Trained(nn.Module):
    """The total of a network whose scores have sizes of their own, to be exported."""

    def __init__(self, channels: int, full_size: bool = True, **options: Any) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.full_size = full_size
        self.objective = lwm.HardPixelMiningLoss(2, upsample_logits=not full_size, **options)

    def forward(self, image: Tensor, target: Tensor, depth: Tensor) -> Tensor:
        sides = [fine := self.fine(image), self.coarse(fine)]
        size = image.shape[2:] if self.full_size else fine.shape[2:]
        logits = nn.functional.interpolate(fine, size, mode="bilinear")
        return self.objective(logits, target, logits[:, :1], depth, sides).total


TRAINED: dict[str, Callable[[], Trained]] = {
    "classes": lambda: Trained(4, ignore_index=255),
    "two classes": lambda: Trained(2, ignore_index=255),
    "upsampled": lambda: Trained(4, full_size=False, ignore_index=255),
    "binary": lambda: Trained(1, weighting=lwm.LossWeightModule(task="binary", ignore_index=255)),
    "depth edges": lambda: Trained(4, weighting=lwm.DepthEdgeWeighting(radius=2, ignore_index=255)),
    "outlines": lambda: Trained(
        4, weighting=lwm.DepthEdgeWeighting(radius=2, ignore_index=255, boundaries_only=True)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TRAINED)
def test_export_of_side_outputs_with_sizes_of_their_own(case: str) -> None:
    module = TRAINED[case]()
    classes = 4 if case in ("classes", "upsampled", "depth edges", "outlines") else 2

    def inputs(images: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        data = scene(images=images, classes=classes, size=size)
        return torch.randn(images, 3, *size), data.target, data.target_depth

    exported = export(module, inputs(3, (16, 24)), least=8)
    for images, size in ((3, (16, 24)), (1, (21, 18))):
        data = inputs(images, size)
        torch.testing.assert_close(exported(*data), module(*data))
