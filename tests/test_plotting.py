"""Figures: every map drawn is the map that the library computes, and what is grey is missing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss._frame_maps import to_colours
from lwm_loss.plotting import (
    DROPPED_COLOUR,
    MISSING_COLOUR,
    VOID_COLOUR,
    legend_of_classes,
    plot_weight_maps,
)
from tests.support import Scene, scene


@pytest.fixture
def batch() -> Scene:
    return scene(images=3, classes=4, size=(24, 32))


def draw(batch: Scene, **options: Any):
    weighting = options.pop("weighting", lwm.LossWeightModule(ignore_index=255))
    image = options.pop("image", torch.rand(3, 3, 24, 32))
    return plot_weight_maps(image, *_arguments(batch), weighting, **options)


def _arguments(batch: Scene) -> tuple[torch.Tensor, ...]:
    return batch.target, batch.logits, batch.pred_depth, batch.target_depth


def panel(figure: Any, title: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_title().startswith(title))


def drawn(figure: Any, title: str) -> np.ndarray:
    return np.asarray(panel(figure, title).images[0].get_array())


def layers(figure: Any, title: str) -> dict[tuple[float, ...], np.ndarray]:
    """Where each plain colour is painted over a map."""
    found = {}
    for image in panel(figure, title).images[1:]:
        layer = np.asarray(image.get_array())
        mask = layer[..., 3] > 0
        if mask.any():
            found[tuple(np.round(layer[mask][0][:3].astype(float), 3).tolist())] = mask
    return found


@pytest.mark.slow
def test_every_map_is_the_one_that_the_library_computes(batch: Scene) -> None:
    weighting = lwm.LossWeightModule(ignore_index=255)
    maps = weighting.maps(*batch)
    curriculum = lwm.SelfPacedCurriculum(4)
    curriculum.epoch.fill_(2)
    labelled = batch.target != 255
    kept = curriculum(maps.weight, labelled)
    for index in range(3):
        figure = draw(batch, index=index, curriculum=curriculum)
        np.testing.assert_array_equal(drawn(figure, "R: "), maps.dpe[index])
        np.testing.assert_array_equal(drawn(figure, "Z: "), maps.dse[index])
        np.testing.assert_array_equal(drawn(figure, "M = R + Z"), maps.weight[index])
        np.testing.assert_array_equal(drawn(figure, "M that the curriculum"), kept[index])
        np.testing.assert_allclose(drawn(figure, "true depth"), batch.target_depth[index])
        np.testing.assert_allclose(
            drawn(figure, "predicted depth"), batch.pred_depth[index].exp(), rtol=1e-6
        )
        missing = (batch.target_depth[index] <= 0).numpy()
        void = ~labelled[index].numpy()
        dropped = ((kept != maps.weight) & labelled)[index].numpy()
        for title, painted in (
            ("true depth", {MISSING_COLOUR: missing}),
            ("predicted depth", {}),
            ("R: ", {MISSING_COLOUR: missing}),
            ("Z: ", {MISSING_COLOUR: missing, VOID_COLOUR: void}),
            ("M = ", {VOID_COLOUR: void}),
            ("M that the", {DROPPED_COLOUR: dropped, VOID_COLOUR: void}),
        ):
            found = layers(figure, title)
            assert found.keys() == painted.keys(), title
            for colour, mask in painted.items():
                np.testing.assert_array_equal(found[colour], mask)


def test_labels_have_their_colours_and_the_legend_names_those_that_occur(batch: Scene) -> None:
    palette = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    target = batch.target.clone()
    target[target == 3] = 1
    logits = batch.logits.clone()
    logits[:, 3] = -100
    names = ("wall", "floor", "box", "lamp")
    figure = draw(
        batch._replace(target=target, logits=logits), palette=palette, class_names=names, title="A"
    )
    label = drawn(figure, "label")
    for index in range(3):
        shown = label[target[0].numpy() == index]
        np.testing.assert_allclose(shown, np.broadcast_to(palette[index] / 255, shown.shape))
    np.testing.assert_allclose(label[target[0].numpy() == 255], VOID_COLOUR[0])
    predicted = logits.argmax(1)[0].numpy()
    np.testing.assert_allclose(drawn(figure, "prediction"), palette[predicted] / 255)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(texts) == sorted(["wall", "floor", "box", "void (no label)", "no depth"])
    keep = target[0].numpy() != 255
    right = (predicted == target[0].numpy())[keep].mean()
    assert f"({100 * right:.0f} % right)" in panel(figure, "prediction").get_title()
    assert figure._suptitle.get_text() == "A"


@pytest.mark.slow
@pytest.mark.slow
def test_a_legend_of_many_classes_stays_within_the_figure() -> None:
    """What does not fit is counted; the masks, without which a map cannot be read, are named."""
    classes, size = 300, (24, 32)
    target = torch.arange(24 * 32).reshape(1, *size) % classes
    logits = torch.nn.functional.one_hot(target, classes).movedim(-1, 1).float()
    target[0, 0, 0] = -100
    depth = torch.full((1, *size), 9.0)
    depth[0, 1, 1] = 0
    weighting = lwm.LossWeightModule()
    figure = plot_weight_maps(
        torch.rand(1, 3, *size), target, logits, torch.zeros(1, *size), depth, weighting
    )
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    legend = figure.legends[0]
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[-2:] == ["void (no label)", "no depth"]
    assert texts[-3] == f"and {classes - (len(texts) - 3)} classes more"
    box = legend.get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.y1


def test_depth_is_shown_in_metres_on_demand() -> None:
    metres = torch.rand(1, 24, 32) * 6 + 1
    levels = LF.rescale_depth(metres, 0.5, 8.0)
    batch = Scene(
        torch.rand(1, 3, 24, 32), torch.ones(1, 24, 32, dtype=torch.long), levels.log(), levels
    )
    figure = draw(batch, metres=(0.5, 8.0), image=torch.rand(1, 3, 24, 32))
    np.testing.assert_allclose(drawn(figure, "true depth"), metres[0], rtol=1e-5)
    np.testing.assert_allclose(drawn(figure, "predicted depth"), metres[0], rtol=1e-5)
    assert "m" in {axes.get_title() for axes in figure.findobj(match=type(figure.axes[0]))}


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["sum", "product", "max", "dpe", "dse"])
def test_figures_are_pictures_for_every_fusion(batch: Scene, fusion: str) -> None:
    weighting = lwm.LossWeightModule(ignore_index=255, fusion=fusion)
    figure = draw(batch, weighting=weighting)
    assert len([axes for axes in figure.axes if axes.get_title()]) == 9
    wrong = (batch.logits.argmax(1) != batch.target) & (batch.target != 255)
    np.testing.assert_array_equal(drawn(figure, "wrong pixels"), wrong[0].float())
    stream = io.BytesIO()
    figure.savefig(stream, dpi=60)
    with Image.open(stream) as picture:
        assert len(picture.convert("RGB").getcolors(2**24)) > 100


@pytest.mark.slow
def test_images_of_any_kind_keep_their_colours(batch: Scene) -> None:
    image = torch.randint(0, 256, (3, 3, 24, 32), dtype=torch.uint8)
    expected = image[0].permute(1, 2, 0) / 255
    np.testing.assert_allclose(drawn(draw(batch, image=image), "image"), expected)
    np.testing.assert_allclose(drawn(draw(batch, image=image / 255), "image"), expected)
    stretched = drawn(draw(batch, image=4 * (image / 255) - 2), "image")
    assert (stretched.min(), stretched.max()) == (0, 1)


@pytest.mark.slow
def test_nothing_known_and_nothing_labelled_can_be_drawn(batch: Scene) -> None:
    empty = batch._replace(
        target=torch.full_like(batch.target, 255), target_depth=torch.zeros_like(batch.target_depth)
    )
    figure = draw(empty, curriculum=lwm.SelfPacedCurriculum(3))
    figure.savefig(io.BytesIO(), dpi=40)


def test_what_does_not_fit_is_refused(batch: Scene) -> None:
    with pytest.raises(ValueError, match=r"`image` of shape \(B, 3, H, W\)"):
        draw(batch, image=torch.rand(3, 24, 32))
    with pytest.raises(ValueError, match=r"`index` in \[0, 3\)"):
        draw(batch, index=3)
    with pytest.raises(ValueError, match="`palette`"):
        draw(batch, palette=np.zeros((3, 3), np.uint8))
    with pytest.raises(TypeError, match="`image`"):
        draw(batch, image=[1])


def test_the_palette_of_many_classes_stays_within_its_range() -> None:
    from lwm_loss.plotting import _palette

    colours = _palette(45, None)
    assert colours.shape == (45, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert torch.equal(colours[20:40], colours[:20] * 0.75)
    assert len({tuple(colour.tolist()) for colour in colours}) == 45


@pytest.mark.parametrize("constant", [False, True])
def test_both_depths_share_the_limits_of_the_true_one(batch: Scene, constant: bool) -> None:
    depth = torch.full_like(batch.target_depth, 40.0) if constant else batch.target_depth
    figure = draw(batch._replace(target_depth=depth))
    known = depth[0][depth[0] > 0]
    limits = (40.0, 41.0) if constant else (known.min().item(), known.max().item())
    for title in ("true depth", "predicted depth"):
        assert panel(figure, title).images[0].get_clim() == pytest.approx(limits)


def test_colours_within_0_and_1_are_shown_as_they_are() -> None:
    image = torch.linspace(0.2, 1.0, 12).reshape(3, 2, 2)
    assert torch.equal(to_colours(image), image.permute(1, 2, 0))
    assert to_colours(10 * image).amax() == 1


@pytest.mark.parametrize("height", [9.0, 0.4])
def test_the_most_frequent_class_comes_first_in_the_legend(height: float) -> None:
    entries = legend_of_classes(
        torch.tensor([2, 0, 7, 4]),
        [(shade,) * 3 for shade in (0.0, 0.3, 0.6, 0.9)],
        ["wall", "floor", "box", "lamp"],
        [],
        height,
    )
    room = ["box", "lamp", "wall"] if height > 1 else ["box", "and 2 classes more"]
    assert [entry.get_label() for entry in entries] == room
