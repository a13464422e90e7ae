"""Every recipe runs; one whose framework is not installed is skipped, saying which."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest
import torch

import lwm_loss as lwm
from tests.processes import start_group

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "examples" / "recipes"
# Recipes whose work is not `train()`; each has a test of its own below.
OTHERS = {"small", "__init__", "transformers_trainer", "lightning_module", "distributed"}
OTHERS |= {"mmseg_loss", "augmentation", "logging_terms", "deploy"}
NEEDS = {
    "kornia_losses": "kornia",
    "monai_trainer": "ignite",
    "smp_network": "segmentation_models_pytorch",
    "torchvision_network": "torchvision",
    "timm_encoder": "timm",
}


def recipe(name):
    """Import a recipe, or skip where its framework cannot be imported."""
    try:
        return importlib.import_module(f"examples.recipes.{name}")
    except (ImportError, RuntimeError) as error:  # torchvision: an operator that torch lacks
        framework = NEEDS.get(name)
        if framework is None or (
            isinstance(error, ImportError) is False and framework != "torchvision"
        ):
            raise
        pytest.skip(f"{framework} is not installed, or not with this torch: {error}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of frameworks about torch and themselves
@pytest.mark.parametrize("name", sorted({path.stem for path in RECIPES.glob("*.py")} - OTHERS))
def test_a_recipe_trains(name):
    losses = recipe(name).train()
    assert len(losses) >= 2
    assert all(loss > 0 for loss in losses)
    if name in ("accelerate_loop", "kornia_losses", "monai_trainer"):
        assert losses[-1] < losses[0]


def test_every_recipe_has_its_place_in_the_pages():
    page = (ROOT / "docs" / "recipes.rst").read_text()
    for path in RECIPES.glob("*.py"):
        if path.stem != "__init__":
            assert f"examples/recipes/{path.name}" in page, path.name


@pytest.mark.slow
def test_transformers_keeps_depth_learns_and_resumes(tmp_path):
    from examples.recipes import transformers_trainer

    torch.manual_seed(0)
    trainer = transformers_trainer.build_trainer(str(tmp_path), epochs=2, seed=1)
    trainer.train()
    assert trainer.objective.curriculum.epoch == 1  # set as the second epoch began
    whole = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    first = min(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    again = transformers_trainer.build_trainer(str(tmp_path), epochs=2, seed=1)
    again.train(resume_from_checkpoint=str(first))
    assert again.objective.curriculum.epoch == 1
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, whole[name], msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_sets_the_curriculum(tmp_path):
    pytest.importorskip("lightning", reason="lightning is not installed")
    from examples.recipes import lightning_module

    module = lightning_module.train(str(tmp_path), epochs=3)
    assert module.objective.curriculum.epoch == 2
    checkpoint = max(tmp_path.rglob("*.ckpt"))
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    assert state["objective.curriculum.epoch"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--fsdp"]], ids=["ddp", "fsdp2"])
def test_two_processes_print_one_loss(options, tmp_path, monkeypatch):
    if options and importlib.util.find_spec("torch.distributed.fsdp._fully_shard") is None:
        pytest.skip("FSDP2 needs torch 2.6 or later")
    from examples.recipes.distributed import main

    monkeypatch.chdir(tmp_path)
    said = start_group(main, ["--epochs", "1", *options], 2)
    assert said.startswith("epoch 1: loss ")
    assert "on 2 processes" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_network_of_ones_own_is_exported_without_its_depth():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnx

    from examples.recipes import deploy
    from examples.recipes.small import CLASSES, SmallNetwork

    class TwoHeads(SmallNetwork):
        def __init__(self):
            super().__init__()
            self.depth = torch.nn.Conv2d(8, 1, 3, padding=1)

        def forward(self, image):
            output = super().forward(image)
            depth = self.depth(self.body(image))[:, 0]
            return lwm.MultiTaskOutput(output.logits, depth)

    deployed = deploy.RGBOnly(TwoHeads()).eval()
    program = deploy.export_program(deployed, 255 * torch.rand(2, 3, 32, 48))
    content = deploy.as_onnx(program)
    other = 255 * torch.rand(1, 3, 40, 64)
    assert program.module()(other).shape == (1, CLASSES, 40, 64)
    assert deploy.largest_difference(content, deployed, other) < 1e-5
    stored = {tuple(each.dims) for each in onnx.load_from_string(content).graph.initializer}
    assert (1, 8, 3, 3) not in stored  # the depth head
    assert (8, 3, 3, 3) in stored


def test_mmsegmentations_loss_takes_depth_out_of_the_label():
    from examples.recipes.mmseg_loss import HardPixelDecodeLoss, pack_depth

    logits = torch.randn(2, 4, 16, 16)
    label = torch.randint(4, (2, 16, 16))
    label[:, :2] = 255
    depth = torch.randint(1, 257, (2, 16, 16)).float()
    depth[:, :, :2] = 0
    packed = pack_depth(label, depth)
    assert torch.equal(packed % 256, label)
    assert torch.equal((packed // 256).float(), depth)
    weight = lwm.LossWeightModule(fusion="dse", ignore_index=255)(logits, label, None, depth)
    loss = torch.nn.functional.cross_entropy(logits, label, ignore_index=255, reduction="none")
    expected = ((1 + weight) * loss).sum() / (label != 255).sum()
    torch.testing.assert_close(HardPixelDecodeLoss()(logits, packed), expected)


def test_kornia_zooms_depth_labels_and_image_alike():
    pytest.importorskip("kornia", reason="kornia is not installed")
    from examples.recipes.augmentation import zoom_and_rotate_kornia

    label = torch.zeros(1, 20, 20, dtype=torch.long)
    label[:, 8:12, 8:12] = 3
    metres = torch.where(label == 3, 2.0, 4.0)
    image = (label == 3).float().expand(1, 3, 20, 20)
    out, new, depth = zoom_and_rotate_kornia(image, label, metres, zoom=1.0, degrees=45.0)
    assert bool((new[:, 0, 0] == 255).all())  # a corner came from outside
    assert bool((depth[:, 0, 0] == 0).all())
    assert set(new.unique().tolist()) == {0, 3, 255}  # no class between
    assert set(depth.unique().tolist()) == {0.0, 2.0, 4.0}  # no depth between
    nearer = zoom_and_rotate_kornia(image, label, metres, zoom=2.0, degrees=0.0)
    assert set(nearer[2].unique().tolist()) == {1.0, 2.0}
    assert int((nearer[1] == 3).sum()) > 3 * int((label == 3).sum())
    assert out.shape == image.shape


def test_albumentations_fills_with_void_and_missing():
    pytest.importorskip("albumentations", reason="albumentations is not installed")
    import numpy as np

    from examples.recipes.augmentation import albumentations_pipeline

    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(40, 40, 3), dtype=np.uint8)
    label = rng.integers(1, 4, size=(40, 40), dtype=np.uint8)
    done = albumentations_pipeline(zoom=(0.5, 0.5))(image=image, mask=label, depth=image)
    assert set(np.unique(done["mask"])) <= {1, 2, 3, 255}
    assert done["mask"][0, 0] == 255


def test_a_wrong_fill_changes_weights_where_nothing_was_filled():
    from examples.imperfect_rooms import imperfect_rooms
    from examples.recipes.augmentation import fill_faults

    _, logits, target, log_depth, depth = imperfect_rooms(1)
    changes = fill_faults(target, logits, log_depth, depth)
    assert all(change > 0 for name, change in changes.items() if "depth" in name)


@pytest.mark.slow
def test_terms_and_maps_are_logged(tmp_path):
    from examples.recipes import logging_terms

    seen = []
    logging_terms.train(lambda scalars, figure, step: seen.append((set(scalars), figure, step)))
    assert [step for _, _, step in seen] == [0, 2]
    assert {"loss/total", "loss/segmentation", "loss/depth", "loss/hard"} <= seen[0][0]
    log = logging_terms.to_tensorboard(str(tmp_path))
    log({"loss/total": 1.0}, seen[0][1], 0)
    assert list(tmp_path.glob("events*"))
