"""Every network of Table I goes its way: trained with and without mining, scored and shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples.nyudv2.evaluate import main as evaluate
from examples.nyudv2.predict import main as predict
from examples.nyudv2.train import main as train
from examples.rgbd.commands.predict import predict_image
from examples.rgbd.data import GeneratedRooms, to_tensors
from examples.rgbd.data.hha import hha
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.loading import stack
from examples.rgbd.evaluation.predicted_depth import PredictedDepth
from examples.rgbd.evaluation.scoring import View
from examples.rgbd.evaluation.scoring import predict as scores_of
from examples.rgbd.model import geometry_of, load_weights_of
from examples.rgbd.networks import parameter_groups, second_input
from examples.rgbd.options.groups import NetworkOptions, OptionError
from examples.rgbd.run.trained import load_trained
from tests.examples.network_support import make
from tests.examples.test_train import refusal, rows_of

pytestmark = pytest.mark.usefixtures("tiny_encoders", "workspace")

SHORT = [
    *("--rooms", "5", "--test-rooms", "1", "--image-size", "32x64", "--batch-size", "2"),
    *("--epochs", "1", "--panels", "1", "--panels-every", "0", "--device", "cpu"),
]
BACKBONES = {"fcn": "tiny_vgg", "depth_aware_cnn": "tiny_vgg", "ls_deconvnet": "tiny_vgg"}
CASES = {
    "refinenet": ("refinenet", []),
    "light_refinenet": ("light_refinenet", []),
    "deeplabv3": ("deeplabv3", []),
    "pspnet": ("pspnet", []),
    "rdfnet": ("rdfnet", []),
    "rdfnet-hha": ("rdfnet", ["--input", "rgb-hha"]),
    "acnet": ("acnet", []),
    "fcn": ("fcn", []),
    "fcn-hha": ("fcn", ["--input", "rgb-hha"]),
    "depth_aware_cnn": ("depth_aware_cnn", []),
    "trl": ("trl", []),
    "pap": ("pap", []),
    "pap-normals": ("pap", ["--normals"]),
    "ls_deconvnet": ("ls_deconvnet", ["--input", "rgb-hha"]),
    "cfn": ("cfn", []),
}


def options_of(case):
    name, options = CASES[case]
    width = "32" if name == "trl" else "8"
    backbone = BACKBONES.get(name, "tiny")
    return ["--network", name, "--backbone", backbone, "--width", width, *options]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_network_trains_an_epoch_and_serves_every_command(case, capsys):
    """One run a network; the objective without mining differs in no code of the network's."""
    panels = "1" if case in ("refinenet", "rdfnet-hha") else "0"  # of an image alone, of three maps
    options = [*options_of(case), "--panels", panels]
    train([*SHORT, *options, "--objective", "sd+rz", "--output", "run"])
    first_lines = capsys.readouterr().out
    (row,) = rows_of(Path("run"))
    assert np.isfinite(row["loss"])
    assert row["hard"] > 0
    assert (row["normals"] > 0) == (case == "pap-normals")
    evaluate(["run", "--device", "cpu", "--workers", "0", "--flip", "--output", "scores.json"])
    assert {"single scale", "flip"} == json.loads(Path("scores.json").read_text()).keys()

    Path("images").mkdir()
    Path("depth").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("images/a.png")
    Image.fromarray(np.full((40, 60), 2500, np.uint16)).save("depth/a.png")
    trained = load_trained(Path("run"))
    reads = getattr(trained.network, "input", "rgb")
    assert (f" x 64, {reads}; depth" in first_lines) == (reads != "rgb")
    beside = []
    if reads != "rgb":
        beside = ["--depth", "depth"]
    if reads == "rgb-hha":
        with pytest.raises(SystemExit):
            predict(["run", "images", "--device", "cpu", *beside])
        assert "Expected --intrinsics fx fy cx cy" in capsys.readouterr().err
        beside += ["--intrinsics", "50", "50", "29.5", "19.5"]
    predict(["run", "images", "--device", "cpu", "--flip", *beside])
    for kind in ("labels", "depth"):
        with Image.open(f"predictions/a-{kind}.png") as picture:
            assert picture.size == (60, 40)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if case == name])
def test_a_network_trains_without_mining(case):
    """Without L_h, L_d and a depth branch: what remains is a plain segmentation network."""
    train([*SHORT, *options_of(case), "--objective", "s", "--output", "run", "--panels", "0"])
    (row,) = rows_of(Path("run"))
    assert np.isfinite(row["loss"])
    assert row["depth"] == row["hard"] == 0


@pytest.mark.parametrize("name", ["rdfnet", "acnet", "fcn", "ls_deconvnet"])
def test_both_encoders_learn_at_the_rate_of_the_encoder(name):
    network = make(
        name, BACKBONES.get(name, "tiny"), **({"input": "rgb-hha"} if name != "acnet" else {})
    )
    encoder, decoder = parameter_groups(network, 1.0, encoder_factor=0.1)
    assert (encoder["lr"], decoder["lr"]) == (0.1, 1.0)
    slow = {id(parameter) for parameter in encoder["params"]}
    for stream in ("rgb", "depth"):
        assert {id(each) for each in getattr(network.encoder, stream).parameters()} <= slow
    inside = {id(parameter) for parameter in network.encoder.parameters()}
    assert not {id(parameter) for parameter in decoder["params"]} & inside


def test_the_privileged_form_begins_with_the_weights_of_a_run_with_depth():
    whole = make("rdfnet", input="rgbd").eval()
    half = make("rdfnet", input="rgb").eval()
    surplus = load_weights_of(half, whole.state_dict(), Path("run"))
    assert surplus
    assert all(".depth." in key for key in surplus)
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(half(image).logits, whole(image).logits, rtol=0, atol=0)
    with pytest.raises(OptionError, match=r"segmentation_head.weight of shape .* in run, but got"):
        load_weights_of(
            half, {**whole.state_dict(), "segmentation_head.weight": image}, Path("run")
        )
    with pytest.raises(OptionError, match="but got none: has it the same --network"):
        load_weights_of(make("rdfnet", input="rgbd"), half.state_dict(), Path("run"))


@pytest.mark.slow
def test_rdfnet_without_depth_and_with_the_depth_of_the_mining_network(capsys):
    """D, P (its RGB half, and that trained further) and PD (fed with predicted depth)."""
    network = ["--network", "rdfnet", "--backbone", "tiny", "--width", "8"]
    train([*SHORT, *network, "--objective", "s", "--output", "D"])
    train(
        [*SHORT, "--backbone", "tiny", "--width", "8", "--objective", "sd+rz", "--output", "mining"]
    )
    capsys.readouterr()
    privileged = [*network, "--input", "rgb", "--objective", "s", "--weights-from", "D"]
    train([*SHORT, *privileged, "--lr", "0", "--output", "P"])
    assert "of its weights have no place" in capsys.readouterr().out
    quick = ["--device", "cpu", "--workers", "0", "--output"]
    evaluate(["D", "--without-depth", *quick, "half.json"])
    evaluate(["D", "--depth-from", "mining", *quick, "PD.json"])
    assert Path("PD.json").exists()

    mining = load_trained(Path("mining"))
    trained = load_trained(Path("D"))
    depth_of = PredictedDepth(mining, "rgbd")
    image = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        log_depth = mining.network(image).log_depth
    near, far = mining.limits
    metres = near + (log_depth.exp() - 1) * (far - near) / 255
    torch.testing.assert_close(depth_of(image)[:, 0], metres)
    camera = Intrinsics(30.0, 30.0, 31.5, 15.5, 32, 64)
    beside = PredictedDepth(mining, "rgb-hha", camera)(image)
    torch.testing.assert_close(beside[:, :1], metres[:, None])
    torch.testing.assert_close(
        beside[:, 1:], hha(metres, torch.tensor([30.0, 30.0, 31.5, 15.5])), rtol=0, atol=1
    )  # both are rounded
    shown = np.full((32, 64, 3), 100, np.uint8)
    assert predict_image(trained, shown, depth_of=depth_of).labels.shape == (32, 64)
    for arguments, message in (
        (["mining", "--without-depth"], "Expected no --without-depth"),
        (["D", "--depth-from", "D"], "reads depth itself"),
        (["D", "--depth-from", "mining", "--without-depth"], "but got both"),
    ):
        with pytest.raises(SystemExit):
            evaluate([*arguments, "--device", "cpu"])
        assert message in capsys.readouterr().err
    Path("photos").mkdir()
    Image.fromarray(shown).save("photos/one.png")
    with pytest.raises(SystemExit):
        predict(["D", "photos", "--depth-from", "D", "--output", "out", "--device", "cpu"])
    assert "reads depth itself" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_second_input_is_zoomed_and_mirrored_with_its_image():
    network = make("rdfnet", input="rgb-hha").eval()
    seen = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    depth = torch.rand(1, 4, 32, 64) + 1
    with torch.no_grad():
        scores_of(network, torch.randn(1, 3, 32, 64), View((2.0,), flip=True), depth)
    (_, plain), (_, zoomed), (_, mirrored) = seen
    assert plain is depth
    torch.testing.assert_close(zoomed[:, :1, ::2, ::2], depth[:, :1] / 2)
    torch.testing.assert_close(zoomed[:, 1:, ::2, ::2], depth[:, 1:])
    torch.testing.assert_close(mirrored, zoomed.flip(-1))


def test_hha_of_rooms_reaches_the_network():
    rooms = GeneratedRooms(
        "train",
        2,
        size=(32, 64),
        geometry=geometry_of(NetworkOptions(network="rdfnet", input="rgb-hha")),
    )
    batch = stack([to_tensors(rooms[index]) for index in range(2)])
    network = make("rdfnet", input="rgb-hha")
    beside = second_input(network, batch.depth, batch.geometry)
    assert beside.shape == (2, 4, 32, 64)
    torch.testing.assert_close(beside[:, 0], batch.depth)
    for index in range(2):
        hha = torch.from_numpy(rooms[index].geometry["hha"].copy()).permute(2, 0, 1).float()
        torch.testing.assert_close(beside[index, 1:], hha)
    assert second_input(make("refinenet"), batch.depth, batch.geometry) is None
    with pytest.raises(ValueError, match="Expected HHA beside depth"):
        second_input(network, batch.depth, {})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--network", "fcn"], "did you mean sd+rz?"),
        (["--network", "acnet", "--backbone", "vgg16"], "`backbone` of 'acnet' to be one of"),
        (["--network", "acnet", "--input", "rgb"], "`input` to be one of rgbd"),
        (["--network", "refinenet", "--input", "rgbd"], "options of 'refinenet'"),
        (["--network", "trl", "--normals", "--objective", "s"], "--normals with --network pap"),
    ],
)
def test_what_a_network_cannot_do_is_said(arguments, match, capsys):
    assert match in refusal(capsys, [*SHORT, *arguments])
