"""The arms against their equations written in numpy, and what pairs them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import examples.study.network as network_module
import lwm_loss as lwm
from examples.study.arms import ARMS, BASELINE, CANDIDATES, GROUPS, MAIN, gain_in_paper
from examples.study.features import Material, Regions, Split
from examples.study.objective import Objective
from examples.study.recipe import Recipe, held_out
from examples.study.trial import Run, Trial, run_trial
from examples.study.weightings import Setting, Visit, part_of

VOID, CLASSES = 255, 4
GRID = (12, 16)
RECIPE = Recipe(epochs=2, batch_size=4, width=8)
TIMES = ("seconds", "cpu_seconds")


def split(rng, number, grid):
    label = rng.integers(0, CLASSES, (number, *grid)).astype(np.uint8)
    label[rng.random(label.shape) < 0.1] = VOID
    # Smooth but for a step in the middle: there are depth edges and flat places.
    depth = np.full(label.shape, 40.0, np.float32) + rng.uniform(0, 1, label.shape)
    depth[..., grid[1] // 2 :] += 10 * CLASSES  # as many bins on as there are classes
    depth[rng.random(label.shape) < 0.05] = 0
    return Split(label, depth.astype(np.float32))


def make_material(train=10, test=4):
    rng = np.random.default_rng(3)
    rows, scored = 2 * train + test, (2 * GRID[0], 2 * GRID[1])
    return Material(
        tuple("abcd"),
        split(rng, train, GRID),
        split(rng, test, scored),
        Regions(*(rng.random((test, *scored)) < 0.3 for _ in range(3))),
        rng.normal(size=(rows, 6, 8, 10)).astype(np.float16),
        rng.normal(size=(rows, 3, 4, 12)).astype(np.float16),
    )


@pytest.fixture(scope="module")
def material():
    return make_material()


def batch(seed=0, frames=3):
    """A batch and its numpy ingredients: cross-entropy, Delta, R, Z of every labelled pixel."""
    rng = np.random.default_rng(seed)
    truth = split(rng, frames, GRID)
    label = torch.from_numpy(truth.label).long()
    depth = torch.from_numpy(truth.depth)
    logits = torch.from_numpy(rng.normal(size=(frames, CLASSES, *GRID))).float()
    log_depth = torch.from_numpy(rng.uniform(1, 5, label.shape)).float()
    sides = tuple(
        torch.from_numpy(rng.normal(size=(frames, CLASSES, GRID[0] // s, GRID[1] // s))).float()
        for s in (2, 4, 4, 4)
    )
    return lwm.MultiTaskOutput(logits, log_depth, sides), label, depth


def ingredients(output, label, depth):
    logits, label, depth = (each.numpy().astype(float) for each in (output.logits, label, depth))
    log_depth = output.log_depth.numpy().astype(float)
    counted, known = label != VOID, depth > 0
    true = np.where(counted, label, 0).astype(int)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p_true = np.take_along_axis(p, true[:, None], 1)[:, 0]
    loss = np.where(counted, -np.log(p_true), 0)
    wrong = (logits.argmax(1) != label) & counted
    gap = np.where(known, np.abs(log_depth - np.log(np.where(known, depth, 1))), 0)
    r = gap / gap.max((1, 2), keepdims=True) * counted
    z, region = np.zeros_like(gap), np.full(gap.shape, -1)
    regions = {}
    for f, y, x in np.ndindex(label.shape):
        if known[f, y, x]:
            key = (f, y * 8 // GRID[0], x * 8 // GRID[1], int((depth[f, y, x] - 1) // 10))
            region[f, y, x] = regions.setdefault(key, len(regions))
    for number in range(len(regions)):
        here = counted & (region == number)
        if here.any():
            z[here] = wrong[here].mean()
    l_d = (gap[known] ** 2).mean()
    return {
        "loss": loss, "wrong": wrong, "r": r, "z": z, "p": p_true, "n": counted.sum(), "l_d": l_d,
        "counted": counted, "true": true, "depth": depth, "region": region,
        "edges": beside(np.log(np.where(known, depth, np.nan)), lambda a, b: abs(a - b) > 0.15),
        "boundaries": beside(np.where(counted, label, np.nan), lambda a, b: abs(a - b) > 0),
    }  # fmt: skip


def beside(values, differ):
    """The pixels around each pair of neighbours that differ, pair by pair; NaN differs from none."""
    found = np.zeros(values.shape, bool)
    for f, y, x in np.ndindex(values.shape):
        for down, right in ((1, 0), (0, 1)):
            other = (f, y + down, x + right)
            if other[1] < GRID[0] and other[2] < GRID[1] and differ(values[f, y, x], values[other]):
                for row, column in ((y, x), other[1:]):
                    found[f, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    return found


def above_class(i):
    """How far Z lies above the error rate of all pixels of the batch with the same label."""
    weight = np.zeros_like(i["z"])
    for c in range(CLASSES):
        here = i["counted"] & (i["true"] == c)
        weight[here] = np.maximum(i["z"][here] - i["wrong"][here].mean(), 0)
    return weight


def rarity(i, place, relative):
    """1 / sqrt of how many pixels share class and place, or of their share of the place."""
    weight = np.zeros_like(i["z"])
    counted = i["counted"] & (i["region"] >= 0)
    for where in zip(*counted.nonzero(), strict=True):
        there = counted & (place == place[where])
        common = (there & (i["true"] == i["true"][where])).sum()
        weight[where] = (common / there.sum() if relative else common) ** -0.5
    return weight


def objective(arm, share=(0.4, 0.3, 0.2, 0.1)):
    setting = Setting(torch.tensor(share), 10, GRID, seed=5)
    return Objective(ARMS[arm], setting, epochs=4)


def mass(weight, like):
    return weight * like.sum() / weight.sum()


def class_weight(i):
    return np.array([0.4, 0.3, 0.2, 0.1])[i["true"]] ** -0.5 * i["counted"]


WEIGHTS = {
    "sd:detached": lambda i: 0 * i["z"],
    "sd": lambda i: 0 * i["z"],
    "r": lambda i: i["r"],
    "z": lambda i: i["z"],
    "rz": lambda i: i["r"] + i["z"],
    "2s": lambda i: i["counted"].astype(float),
    "uniform": lambda i: i["counted"] * ((i["r"] + i["z"]).sum() / i["n"]),
    "uniform-image": lambda i: (
        i["counted"] * ((i["r"] + i["z"]).sum((1, 2)) / i["counted"].sum((1, 2)))[:, None, None]
    ),
    "delta": lambda i: mass(i["wrong"].astype(float), i["r"] + i["z"]),
    "easy": lambda i: mass((2 - i["r"] - i["z"]) * i["counted"], i["r"] + i["z"]),
    "other-image": lambda i: mass(np.roll(i["r"] + i["z"], 1, 0) * i["counted"], i["r"] + i["z"]),
    "cw": lambda i: mass(class_weight(i), i["r"] + i["z"]),
    "cw*m": lambda i: mass(class_weight(i) * (i["r"] + i["z"]), i["r"] + i["z"]),
    "cw+edges": lambda i: mass(class_weight(i) * np.where(i["edges"], 2, 1), i["r"] + i["z"]),
    "edges-early": lambda i: mass(1.0 * (i["edges"] & i["counted"]), i["r"] + i["z"]),
    "edges-half": lambda i: mass(1.0 * (i["edges"] & i["counted"]), (i["r"] + i["z"]) / 2),
    "edges-double": lambda i: mass(1.0 * (i["edges"] & i["counted"]), (i["r"] + i["z"]) * 2),
    "outlines": lambda i: mass(
        1.0 * (i["edges"] & i["boundaries"] & i["counted"]), i["r"] + i["z"]
    ),
    "boundaries": lambda i: mass(1.0 * (i["boundaries"] & i["counted"]), i["r"] + i["z"]),
    "flat-boundaries": lambda i: mass(
        1.0 * (i["boundaries"] & i["counted"] & ~i["edges"]), i["r"] + i["z"]
    ),
    "no-edges": lambda i: mass(np.where(i["edges"], 0, i["r"] + i["z"]), i["r"] + i["z"]),
    "closeness": lambda i: mass(
        np.divide(1, i["depth"], where=i["depth"] > 0, out=np.zeros_like(i["z"])) * i["counted"],
        i["r"] + i["z"],
    ),
    "above-class": lambda i: mass(above_class(i), i["r"] + i["z"]),
    "region-rare": lambda i: mass(rarity(i, i["region"], relative=True), i["r"] + i["z"]),
    "bin-rare": lambda i: mass(rarity(i, (i["depth"] - 1) // 10, relative=False), i["r"] + i["z"]),
    "focal": lambda i: (1 - i["p"]) ** 2 * i["counted"],
    "surface": lambda i: mass(i["depth"] ** 2 * i["counted"], i["r"] + i["z"]),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_arm_follows_its_equation(name):
    output, label, depth = batch()
    i = ingredients(output, label, depth)
    expected = i["loss"].sum() / i["n"] + i["l_d"] + (WEIGHTS[name](i) * i["loss"]).sum() / i["n"]
    loss, plain = objective(name)(output, label, depth)
    assert loss.item() == pytest.approx(expected, rel=2e-5)
    assert plain.item() == pytest.approx(i["loss"].sum() / i["n"], rel=2e-5)


def test_l_s_alone_has_no_depth():
    output, label, depth = batch()
    i = ingredients(output, label, depth)
    loss, _ = objective("s")(output._replace(log_depth=None), label, depth)
    assert loss.item() == pytest.approx(i["loss"].sum() / i["n"], rel=2e-5)


@pytest.mark.parametrize("name", ["detached", "sd:detached"])
def test_l_d_apart_teaches_the_depth_decoder_alone(material, name):
    """And the depth decoder learns from nothing else."""
    trial = Trial(Run(name, 0), RECIPE, material)
    network, depth_alone = trial.network, {"depth", "log_depth"}
    draw = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, *shape, generator=draw) for shape in ((10, 6, 8), (12, 3, 4))]
    label = torch.randint(CLASSES, (2, *GRID), generator=draw)

    def taught(loss):
        """The parts that a loss of the network's output reaches."""
        network.zero_grad()
        loss(network(*maps, **trial.options)).backward()
        weights = network.named_parameters()
        return {
            place.split(".")[0]
            for place, weight in weights
            if weight.grad is not None and weight.grad.any()
        }

    assert taught(lambda output: output.log_depth.square().mean()) == depth_alone
    by_labels = taught(lambda output: nn.functional.cross_entropy(output.logits, label))
    assert "scores" in by_labels
    assert not by_labels & depth_alone


def test_shuffled_keeps_the_values_of_each_image():
    output, label, depth = batch()
    i = ingredients(output, label, depth)
    weight = objective("shuffled").weighting(output.logits, label, output.log_depth, depth).numpy()
    mined = i["r"] + i["z"]
    for f in range(len(label)):
        counted = i["counted"][f]
        assert np.allclose(np.sort(weight[f][counted]), np.sort(mined[f][counted]), atol=1e-5)
        assert not weight[f][~counted].any()
    assert not np.allclose(weight, mined, atol=1e-3)


def test_depth_edges_have_ms_mass_and_nothing_elsewhere():
    output, label, depth = batch()
    i = ingredients(output, label, depth)
    weight = objective("depth-edges").weighting(output.logits, label, output.log_depth, depth)
    assert weight.sum().item() == pytest.approx((i["r"] + i["z"]).sum(), rel=1e-5)
    middle = GRID[1] // 2  # the step lies between columns 7 and 8, and has one neighbour each
    assert not weight[..., : middle - 2].any()
    assert not weight[..., middle + 2 :].any()
    assert weight[..., middle - 2 : middle + 2].amin((0, 1)).min() >= 0
    assert len(weight[weight > 0].unique()) == 1


def test_depth_edges_of_a_part_are_those_of_the_whole_grid():
    output, label, depth = batch()
    whole = [torch.repeat_interleave(each, 2, -1) for each in (label, depth)]
    whole = [torch.repeat_interleave(each, 2, -2) for each in whole]
    arm = objective("depth-edges")
    frames = torch.arange(3)
    arm.visit(Visit(frames, frames > 5, 0.0, whole[0], whole[1], (0, 1)))
    weight = arm.weighting(output.logits, label, output.log_depth, depth)
    # Twice as fine, the step lies between columns 15 and 16: 14 to 17 are edges, of which the part
    # from column 1 on holds 15 and 17.
    found = (weight > 0).any(0).any(0).nonzero().flatten().tolist()
    assert found == [7, 8]


def test_a_part_is_what_the_whole_says_there(material):
    network = Trial(Run("sd", 0), RECIPE, material).network
    inputs = [torch.randn(2, 10, 6, 8), torch.randn(2, 12, 3, 4)]
    whole = network(*inputs)
    for part in ((0, 0), (0, 1), (1, 0), (1, 1)):
        found = network(*inputs, part=part)
        assert torch.allclose(found.logits, part_of(whole.logits, part), atol=1e-5)
        assert torch.allclose(found.log_depth, part_of(whole.log_depth, part), atol=1e-5)


def test_curriculum_and_sides_are_the_librarys():
    output, label, depth = batch()
    arm = objective("full")
    assert arm.mining.curriculum is not None
    assert (arm.mining.num_sides, arm.mining.alpha, arm.mining.beta) == (4, 1.0, 0.1)
    first = arm(output, label, depth)[0]
    for _ in range(4):
        arm.curriculum.step()
    assert arm(output, label, depth)[0] == objective("hpm")(output, label, depth)[0]
    assert first < arm(output, label, depth)[0]


def test_averaged_z_knows_mirrored_visits():
    weighting = objective("z-average").weighting
    output, label, depth = batch(frames=1)
    frame = torch.tensor([7])
    plain = objective("z").weighting(output.logits, label, None, depth)

    def visit(mirrored):
        weighting.visit(Visit(frame, torch.tensor([mirrored]), 0.0))
        parts = [each.flip(-1) if mirrored else each for each in (output.logits, label, depth)]
        return weighting(parts[0], parts[1], None, parts[2])

    assert torch.equal(visit(False), plain)
    assert torch.allclose(visit(True), plain.flip(2), atol=1e-6)


def test_late_mining_begins_at_half():
    arm = objective("late")
    output, label, depth = batch()
    visits = [
        Visit(torch.arange(3), torch.zeros(3, dtype=torch.bool), share) for share in (0.49, 0.5)
    ]
    losses = []
    for visit in visits:
        arm.visit(visit)
        losses.append(arm(output, label, depth)[0])
    assert losses[0] == objective("sd")(output, label, depth)[0]
    assert losses[1] == objective("rz")(output, label, depth)[0]


def same(first, second):
    return {k: repr(v) for k, v in first.items() if k not in TIMES} == {
        k: repr(v) for k, v in second.items() if k not in TIMES
    }


@pytest.mark.parametrize("arm", ["rz", "shuffled", "z-average"])
def test_two_runs_of_an_arm_and_seed_are_bit_equal(material, arm):
    first, second = (run_trial(Run(arm, 1), RECIPE, material) for _ in range(2))
    assert same(first, second)
    assert not same(first, run_trial(Run(arm, 2), RECIPE, material))


def test_arms_of_a_seed_share_weights_order_mirrors_and_masks(material, monkeypatch):
    seen = {}
    for arm in ("s", "sd", "rz", "shuffled", "full"):
        trial = Trial(Run(arm, 4), RECIPE, material)
        weights = torch.cat([each.flatten() for each in trial.network.parameters()])
        drawn = []

        def draw(*args, inner=trial.network.draw_masks, drawn=drawn):
            drawn.append(inner(*args))
            return drawn[-1]

        def step(frames, mirrored, share, inner=trial._step, drawn=drawn):
            drawn += [torch.from_numpy(frames), torch.from_numpy(mirrored)]
            return inner(frames, mirrored, share)

        monkeypatch.setattr(trial.network, "draw_masks", draw)
        monkeypatch.setattr(trial, "_step", step)
        trial.train()
        seen[arm] = (weights, drawn)
    for weights, drawn in seen.values():
        assert torch.equal(weights, seen["s"][0])
        assert len(drawn) == len(seen["s"][1]) == 3 * 2 * 2
        assert all(map(torch.equal, drawn, seen["s"][1]))


def test_a_run_that_was_killed_goes_on_to_the_same_bits(material, tmp_path):
    recipe = dataclasses.replace(RECIPE, points="quarter")
    whole = run_trial(Run("shuffled", 0), recipe, material)
    saved = tmp_path / "run.state"
    trial = Trial(Run("shuffled", 0), recipe, material)

    def stop(share):
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trial.train(saved, stop)
    assert saved.exists()
    assert same(whole, run_trial(Run("shuffled", 0), recipe, material, saved=saved))
    assert not saved.exists()


class Pyramid(nn.Module):
    """Four maps of an image, by convolutions of stride 2."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        widths = (3, 4, 4, 6, 8, 8)
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )

    def forward(self, image):
        maps = []
        for step in self.steps:
            maps.append(step(maps[-1] if maps else image).relu())
        return tuple(maps[1:])


@pytest.fixture(scope="module")
def pictures(material):
    rng = np.random.default_rng(9)
    rows = 2 * len(material.train.label) + len(material.test.label)
    images = rng.integers(0, 256, (rows, 8 * GRID[0], 8 * GRID[1], 3), dtype=np.uint8)
    return dataclasses.replace(material, fine=None, coarse=None, images=images)


FINETUNE = dataclasses.replace(RECIPE, stage="finetune", batch_size=6)


def test_fine_tuning_in_parts_has_the_gradient_of_the_whole_batch(pictures, monkeypatch):
    """Eight images, the encoder sees four at once: the gradient is that of all eight at once."""
    gradients = []
    for at_once in (network_module._AT_ONCE, 8):
        monkeypatch.setattr(network_module, "_AT_ONCE", at_once)
        trial = Trial(Run("rz", 0), FINETUNE, pictures, Pyramid)
        output = trial.network(*network_module.inputs_of(pictures, np.arange(8)))
        truth = pictures.train
        label, depth = torch.from_numpy(truth.label[:8]).long(), torch.from_numpy(truth.depth[:8])
        trial.objective(output, label, depth)[0].backward()
        gradients.append(
            [each.grad for each in trial.network.parameters() if each.grad is not None]
        )
    assert len(gradients[0]) == len(gradients[1]) > 20
    for part, whole in zip(*gradients, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-7)


def test_fine_tuning_teaches_the_encoder_at_its_own_rate(pictures):
    trial = Trial(Run("sd", 0), FINETUNE, pictures, Pyramid)
    decoders, encoder = trial.optimizer.param_groups
    assert encoder["max_lr"] == pytest.approx(FINETUNE.encoder_rate * decoders["max_lr"])
    before = [each.clone() for each in trial.network.encoder.parameters()]
    trial.train()
    assert all(
        not torch.equal(a, b)
        for a, b in zip(before, trial.network.encoder.parameters(), strict=True)
    )


def test_a_fine_tuning_that_was_killed_goes_on_to_the_same_bits(pictures, tmp_path):
    whole = run_trial(Run("shuffled", 0), FINETUNE, pictures, Pyramid)
    saved = tmp_path / "run.state"
    trial = Trial(Run("shuffled", 0), FINETUNE, pictures, Pyramid)

    def stop(share):
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trial.train(saved, stop)
    assert same(whole, run_trial(Run("shuffled", 0), FINETUNE, pictures, Pyramid, saved=saved))


def test_held_out_frames_are_not_trained_on(material):
    recipe = dataclasses.replace(RECIPE, score="held-out")
    trial = Trial(Run("sd", 0), recipe, material)
    assert set(trial.held) == {4, 9}
    assert not set(trial.held) & {int(f) for frames, _ in trial.batches() for f in frames}
    assert trial.score()["pixel_accuracy"] >= 0
    kept, held = held_out(795)
    assert len(kept) + len(held) == 795
    assert held[:20] == list(range(80, 100))


def test_groups_of_arms_exist():
    assert not set(MAIN + CANDIDATES) - set(ARMS)
    assert len(set(CANDIDATES)) >= 10
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names)) == len(ARMS)


# Mean IoU on NYUDv2, copied from the paper's Tables II, III and IV, row by row.
PRINTED = {
    "s": "46.59", "sd": "47.25", "sd+ms": "47.51", "sd+cl": "47.84", "r": "49.15", "z": "49.63",
    "rz": "50.31", "hpm": "50.93", "full": "51.51",
    "hpm:fusion=max": "49.69", "hpm:fusion=product": "48.55",
    "hpm:cells=1x1": "49.63", "hpm:cells=pixel": "50.04", "hpm:cells=16x16": "50.42",
    "hpm:bin=1": "50.04", "hpm:bin=50": "50.68", "hpm:bin=100": "50.21",
    "ohem": "47.25", "lmp": "47.46", "focal": "48.32",
    "ohem-alone": "47.25", "lmp-alone": "47.46", "focal-alone": "48.32",
}  # fmt: skip


def test_what_the_paper_reports_is_what_it_prints():
    assert {name: f"{arm.paper:.2f}" for name, arm in ARMS.items() if arm.paper} == PRINTED
    assert gain_in_paper("rz") == pytest.approx(3.06)
    assert gain_in_paper("s") == pytest.approx(-0.66)
    for name in (BASELINE, "cw", "nobody's"):
        assert gain_in_paper(name) is None
