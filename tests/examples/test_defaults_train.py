"""The defaults train: every network and every objective, on frames like real ones."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.defaults_that_train import summary
from examples.nyudv2.recipe import PIPELINE
from examples.rgbd.data import NYUDV2, VOID, Sample, resize, to_tensors
from examples.rgbd.data.loading import stack
from examples.rgbd.model import build_model
from examples.rgbd.networks import RESNETS, BoundedLogDepth, second_input
from examples.rgbd.networks.encoder import Architecture
from examples.rgbd.networks.kinds import NETWORKS
from examples.rgbd.objectives import ARMS
from examples.rgbd.options.groups import NetworkOptions, ObjectiveOptions
from examples.rgbd.report.text import TERMS
from examples.rgbd.run.divergence import Divergence, remedy
from examples.rgbd.run.first_steps import first_steps
from examples.rgbd.splits import mean_log_depth
from lwm_loss import MultiTaskOutput
from tests.examples.accelerators import forget_accelerator

TABLES = Path(__file__).resolve().parents[2] / "docs" / "_static"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "nyudv2"
LIMITS = (0.7, 10.0)
CLASSES = 40

pytestmark = pytest.mark.usefixtures("tiny_encoders")


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    forget_accelerator()


@pytest.fixture(scope="module")
def real_frames():
    """Two frames far from each other, small."""
    data = NYUDV2.open(REAL, "train")
    return [resize(data[index], (32, 48)) for index in (100, 600)]


def frame(seed, size=(32, 48)):
    """A frame with the statistics of NYUDv2: walls and floor over half of it, few pixels of many
    classes, a fifth void, depth of 0.7 to 10 m with holes, edges that colour shows too."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    label = np.where(rows > height * rng.uniform(0.5, 0.8), 1, 0)
    depth = 0.9 + 9 * (1 - rows / height) ** 2 + rng.uniform(0, 2) * columns / width
    for _ in range(18):
        y, x = rng.integers(height), rng.integers(width)
        h, w = rng.integers(2, height // 3), rng.integers(2, width // 3)
        box = np.s_[y : y + h, x : x + w]
        label[box], depth[box] = rng.integers(2, CLASSES), rng.uniform(0.7, 10)
    colours = np.random.default_rng(7).integers(0, 256, (CLASSES, 3))
    image = colours[label] * np.clip(1.2 - depth / 15, 0.4, 1)[..., None]
    image = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    label[rng.random(size) < 0.1], label[: height // 12] = 255, 255
    depth[rng.random(size) < 0.1] = 0
    return Sample(image, label.astype(np.uint8), depth.astype(np.float32), f"frame {seed}")


def train(network, objective, frames, steps=12, *, batch=2):
    """Take the first steps by the defaults."""
    recipe = PIPELINE.recipe
    optimisation = dataclasses.replace(recipe.optimisation, batch_size=batch)
    config = dataclasses.replace(
        recipe,
        network=network,
        objective=ObjectiveOptions(objective=objective),
        optimisation=optimisation,
    )
    return first_steps(config, frames, LIMITS, CLASSES, steps)


# Every network with every objective that it has outputs for.
PAIRS = [
    (network, arm)
    for network, kind in NETWORKS.items()
    for arm in ARMS
    if "num_sides" in kind.options or not ARMS[arm].sides
]
LARGEST = dict(PAIRS)  # ARMS grow: of each network, the last that it has outputs for


def narrow(network):
    """A network with a narrow encoder and narrow decoders: a hundredth of the work."""
    kind = NETWORKS[network]
    width = 32 if network == "trl" else 8  # TRL divides the width by up to 32
    return NetworkOptions(
        network=network,
        backbone="narrow" if not kind.families or "resnet" in kind.families else "tiny_vgg",
        width=width if "width" in kind.options else None,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("network", "objective"), PAIRS)
def test_defaults_train_every_network_with_every_objective(network, objective):
    frames = [frame(seed) for seed in range(2)]
    rows, before, after = train(narrow(network), objective, frames)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert after < before


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the NYUDv2 frames in ../shared")
@pytest.mark.parametrize(
    ("network", "objective"), PAIRS if "EVERY_PAIR" in os.environ else LARGEST.items()
)
def test_defaults_train_on_real_frames(real_frames, network, objective):
    rows, before, after = train(narrow(network), objective, real_frames)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert after < before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "depths"), [("refinenet", (3, 4, 6, 3)), ("trl", (1, 1, 1, 1))]
)
def test_first_gradient_is_not_many_times_the_clipping_norm(monkeypatch, network, depths):
    """A step is cut to a norm of 1, so that a gradient of a thousand leaves nothing of its direction."""
    monkeypatch.setitem(RESNETS, "thin", Architecture(depths, (16, 32, 64, 128), "bottleneck"))
    batch = stack([to_tensors(frame(seed)) for seed in range(2)])

    def norm(**options):
        torch.manual_seed(0)
        options = NetworkOptions(network=network, backbone="thin", width=32, **options)
        model = build_model(options, ObjectiveOptions(objective="s"), CLASSES)
        logits = model.train()(batch.image).logits
        torch.nn.functional.cross_entropy(logits, batch.label, ignore_index=VOID).backward()
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        return torch.stack([each.norm() for each in gradients]).norm().item()

    assert norm() < 10
    if network == "refinenet":
        assert norm(zero_residual=False) > 5 * norm()


@pytest.mark.parametrize("network", NETWORKS)
def test_depth_begins_where_it_is_told_to(network):
    """A fresh head far off teaches the encoder depth alone: ACNet's first L_d was 13 for a 0.8."""
    options = narrow(network)
    torch.manual_seed(0)
    model = build_model(options, ObjectiveOptions(objective="sd"), CLASSES).train()
    for output in model.modules():
        if isinstance(output, BoundedLogDepth):
            output.start_at(3.9)
    batch = stack([to_tensors(frame(seed)) for seed in range(2)])
    beside = second_input(model, batch.depth, {})
    output = model(batch.image) if beside is None else model(batch.image, beside)
    log_depth = MultiTaskOutput.of(output).log_depth
    assert (log_depth - 3.9).square().mean().sqrt() < 0.5


@pytest.mark.slow
def test_wide_decoder_keeps_its_depth_in_hand():
    """What diverged: two decoders of width 256 from scratch, SGD 1e-3, one way for all pixels."""
    options = NetworkOptions(backbone="resnet18")
    frames = [frame(seed) for seed in range(2)]
    rows, before, after = train(options, "sd", frames, steps=5)
    assert max(row["depth"] for row in rows) < 1.5 * rows[0]["depth"]
    assert after < before


def test_mean_log_depth_is_that_of_the_known_pixels():
    depths = [np.full((2, 3), metres, np.float32) for metres in (0.7, 10.0, 20.0)]
    depths[0][0, 0] = 0
    frames = [
        Sample(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8), d, "") for d in depths
    ]
    expected = 12 * math.log(256) / 17  # 5 pixels of level 1, 12 of level 256
    assert mean_log_depth(frames, LIMITS) == pytest.approx(expected, rel=1e-6)
    assert mean_log_depth([frames[0]._replace(depth=0 * depths[0])], LIMITS) is None


@pytest.mark.parametrize("bound", ["clamp", "sigmoid", "none"])
def test_raw_zero_means_the_depth_that_it_starts_at(bound):
    layer = BoundedLogDepth((1.0, 256.0), bound)
    assert layer(torch.zeros(1, 1, 1, 1)).item() == pytest.approx(math.log(128.5), rel=1e-6)
    layer.start_at(3.5)
    other = BoundedLogDepth((1.0, 256.0), bound)
    other.load_state_dict(layer.state_dict())
    assert other(torch.zeros(1, 1, 1, 1)).item() == pytest.approx(3.5, rel=1e-6)
    with pytest.raises(ValueError, match="but got 300: is it depth"):
        layer.start_at(300.0)


def test_divergence_names_the_first_term_and_its_step():
    watch, network = Divergence(torch.device("cpu")), torch.nn.Linear(2, 2)
    good = torch.ones(len(TERMS), dtype=torch.float64)
    watch.watch(good, 1)
    assert watch.describe(network) is None
    inf, nan = good.clone(), torch.full_like(good, math.nan)
    inf[[TERMS.index("loss"), TERMS.index("depth")]] = math.inf
    watch.watch(inf, 2)
    watch.watch(nan, 3)
    assert watch.describe(network) == "L_d left first and is inf at step 2"


def test_weights_that_are_not_finite_are_found_before_they_are_saved():
    watch, network = Divergence(torch.device("cpu")), torch.nn.Linear(2, 2)
    network.bias.data[1] = math.nan
    assert watch.describe(network) == "the weights are not finite after the last step"


def test_remedy_is_an_option_that_is_not_set_yet():
    def with_(**options):
        optimisation = dataclasses.replace(PIPELINE.recipe.optimisation, **options)
        return remedy(dataclasses.replace(PIPELINE.recipe, optimisation=optimisation))

    assert with_(clip_norm=0.0).startswith("--clip-norm 1")
    assert with_() == "a lower --lr, such as 0.0001"
    assert with_(mixed_precision="fp16").startswith("--mixed-precision bf16")


def test_summary_has_one_row_for_all_objectives():
    same = {
        **{"network": "refinenet", "encoder": "resnet18", "decoder": "width 64"},
        **{"frames": "4 of 60x80", "precision": "bf16", "steps": "100"},
    }
    results = [
        ("s", "yes", "3.70 to 2.20", ""),
        ("sd", "no", "3.72 to nan", "9.67 to 0.05"),
        ("sd+rz", "no", "3.72 to 3.10", "9.67 to 0.05"),
        ("full", "yes", "3.68 to 3.68", "10.20 to 0.05"),
    ]
    table = [
        {**same, **dict(zip(("objective", "finite", "L_s", "L_d"), result))} for result in results
    ]
    other = {**table[0], "steps": "50"}
    assert [tuple(row.values()) for row in summary([*table, other])] == [
        (
            *("refinenet", "resnet18", "width 64, 4 of 60x80, bf16, 100 steps"),
            *("s, sd, sd+rz, full", "not with sd, sd+rz, full"),
            *("3.68-3.72 to 2.20-nan", "9.67-10.20 to 0.05"),
        ),
        (
            *("refinenet", "resnet18", "width 64, 4 of 60x80, bf16, 50 steps"),
            *("s", "yes", "3.70 to 2.20", ""),
        ),
    ]


def test_table_on_the_page_is_that_of_its_rows():
    with (TABLES / "defaults.csv").open(newline="") as rows:
        expected = summary(csv.DictReader(rows))
    with (TABLES / "defaults_summary.csv").open(newline="") as rows:
        assert list(csv.DictReader(rows)) == expected
