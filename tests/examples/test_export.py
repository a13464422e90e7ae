"""A trained network as a file: what it takes and gives, and what is compared before it is done."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from examples.rgbd.commands import export as command
from examples.rgbd.commands.export import Deployed, check_exportable, compare, sizes_to_compare
from examples.rgbd.data import IMAGENET_MEAN, IMAGENET_STD, label_palette, normalise
from examples.rgbd.options.commands import ExportOptions
from examples.rgbd.options.groups import (
    DataOptions,
    NetworkOptions,
    ObjectiveOptions,
    OptionError,
    TrainConfig,
)
from examples.rgbd.run.trained import Trained
from lwm_loss import MultiTaskOutput


class Small(nn.Module):
    """Scores at a quarter of the size and log-depth, by strided and plain convolutions."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.scores = nn.Conv2d(8, classes, 1)
        self.depth = nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        features = self.body(image).relu()
        log_depth = math.log(256) * self.depth(features).sigmoid()[:, 0]
        return MultiTaskOutput(self.scores(features), log_depth)


def trained(classes: int = 7, objective: str = "sd", **network: Any) -> Trained:
    torch.manual_seed(0)
    config = TrainConfig(
        data=DataOptions(image_size=(64, 48)),
        objective=ObjectiveOptions(objective=objective),
        network=NetworkOptions(**network),
    )
    names = tuple(f"class {k}" for k in range(classes))
    return Trained(
        Small(classes).eval(), config, "office", names, label_palette(classes), (0.5, 8.0), 1,
        Path("run/best.pt"),
    )  # fmt: skip


def test_a_deployed_network_takes_rgb_and_gives_scores_and_metres() -> None:
    run = trained()
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    plain = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        scores, depth = Deployed(run, "scores", with_depth=True)(plain)
        output = run.network(normalise(image)[None])
        wanted = torch.nn.functional.interpolate(output.logits, (64, 48), mode="bilinear")
        torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4)
        levels = torch.nn.functional.interpolate(
            output.log_depth[:, None], (64, 48), mode="bilinear"
        )
        metres = 0.5 + (levels[:, 0].exp() - 1) * 7.5 / 255
        torch.testing.assert_close(depth, metres, rtol=1e-4, atol=1e-4)
        (labels,) = Deployed(run, "labels")(plain)
        assert torch.equal(labels, scores.argmax(1))
        normalised = (plain / 255 - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(
            IMAGENET_STD
        )[:, None, None]
        (same,) = Deployed(run, "scores", preprocess=False)(normalised)
        torch.testing.assert_close(same, scores, rtol=1e-4, atol=1e-4)


def test_a_file_that_gives_something_else_is_never_called_done() -> None:
    deployed = Deployed(trained(), "scores").eval()
    sizes = sizes_to_compare(32, 32, fixed=False)
    assert len({size[1:] for size in sizes}) == 3
    assert min(min(size[1:]) for size in sizes) >= 32  # the least that a run trains with

    def right(inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in deployed(*inputs)]

    assert compare(deployed, right, sizes) == (0, 1, 0)
    wrong = {
        "differ": lambda images: [right(images)[0] + 0.1],
        "NaN": lambda images: [right(images)[0] * np.nan],
        "shape": lambda images: [right(images)[0][:, :-1]],
        "one image": lambda images: [right(images)[0][:1]],
    }
    for runner in wrong.values():
        with pytest.raises(OptionError, match="exported network"):
            compare(deployed, runner, sizes)

    def fails(images: Tensor) -> list[np.ndarray]:
        raise AssertionError("Guard failed: image.size()[2] >= 33")

    with pytest.raises(OptionError, match=r"Guard failed.*--fixed-size"):
        compare(deployed, fails, sizes)
    both = Deployed(trained(), "labels", with_depth=True).eval()

    def without_depth(inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
        with torch.no_grad():
            labels, depth = both(*inputs)
        return [labels.numpy(), np.full_like(depth.numpy(), np.nan)]

    with pytest.raises(OptionError, match="exported network"):
        compare(both, without_depth, sizes)
    nn.init.constant_(deployed.network.scores.bias, float("nan"))
    with pytest.raises(OptionError, match="diverge"):
        compare(deployed, right, sizes)


def test_rounding_of_a_depth_that_hardly_varies_is_no_difference() -> None:
    """One step of float32 at 4 m is more than a thousandth of a range of a few micrometres."""
    run = trained()
    run.network.depth.weight.data.mul_(1e-6)
    deployed = Deployed(run, "scores", with_depth=True).eval()
    exact = copy.deepcopy(deployed).double()

    def off(steps: float) -> Any:
        def run_file(inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
            with torch.no_grad():
                scores, depth = exact(*(each.double() for each in inputs))
            return [scores.float().numpy(), (depth + steps * 2**-22).float().numpy()]

        return run_file

    found = compare(deployed, off(0), [(1, 32, 32)])
    assert found.difference > 1e-3
    assert found.difference / 4 <= found.rounding <= 4 * found.difference
    assert found.same == 1
    with pytest.raises(OptionError, match="values of depth differ"):
        compare(deployed, off(100), [(1, 32, 32)])


def test_what_cannot_be_exported_is_said() -> None:
    options = ExportOptions(Path("run"), Path("net.onnx"), with_depth=True)
    check_exportable(options, trained())
    with pytest.raises(OptionError, match="--objective s"):
        check_exportable(options, trained(objective="s"))
    lite = trained(backbone="efficientnet_lite2")
    with pytest.raises(OptionError, match="--fixed-size for efficientnet_lite2"):
        check_exportable(options, lite)
    check_exportable(dataclasses.replace(options, fixed_size=True), lite)
    cropping = trained(network="ls_deconvnet")
    with pytest.raises(OptionError, match="--fixed-size for ls_deconvnet"):
        check_exportable(options, cropping)
    check_exportable(dataclasses.replace(options, fixed_size=True), cropping)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "outputs"), [(7, "labels"), (300, "scores")])
def test_an_onnx_file_takes_any_batch_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, outputs: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = trained(classes)
    monkeypatch.setattr(command, "load_trained", lambda path: run)
    path = tmp_path / "net.onnx"
    command.export(ExportOptions(Path("run"), path, outputs=outputs, with_depth=True))
    assert "the labels the same" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert [output.name for output in session.get_outputs()] == [outputs, "depth"]
    for shape in ((1, 3, 64, 48), (2, 3, 33, 97)):
        images = (255 * np.random.default_rng(1).random(shape)).astype(np.float32)
        found, metres = session.run(None, {"image": images})
        wanted, depth = Deployed(run, outputs, with_depth=True)(torch.from_numpy(images))
        if outputs == "labels":
            assert (found == wanted.numpy()).mean() > 0.999
        else:
            np.testing.assert_allclose(found, wanted.detach(), atol=1e-4)
        np.testing.assert_allclose(metres, depth.detach(), atol=1e-3)


@pytest.mark.slow
def test_a_program_of_torch_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained()
    monkeypatch.setattr(command, "load_trained", lambda path: run)
    path = tmp_path / "net.pt2"
    with pytest.raises(OptionError, match=r"\.pt2"):
        command.export(ExportOptions(Path("run"), tmp_path / "net.onnx", torch=True))
    command.export(ExportOptions(Path("run"), path, torch=True))
    program = torch.export.load(path).module()
    images = 255 * torch.rand(3, 3, 50, 71)
    torch.testing.assert_close(program(images), Deployed(run, "scores")(images))
    command.export(ExportOptions(Path("run"), path, torch=True, fixed_size=True))
    fixed = torch.export.load(path).module()
    images = 255 * torch.rand(5, 3, 64, 48)
    torch.testing.assert_close(fixed(images), Deployed(run, "scores")(images))
