"""Augmentation: what belongs together stays together, and seeds decide everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.utils.data import DataLoader

from examples.rgbd.data.augment import Augmentation, Augmented, Resized, augment, resize
from examples.rgbd.data.frame import RGBDDataset, Sample, denormalise
from examples.rgbd.data.rooms.dataset import GeneratedRooms

PLAIN = Augmentation(brightness=0, contrast=0, saturation=0, hue=0)


def coded(height: int, width: int) -> Sample:
    """A frame whose label and depth both spell out the position of every pixel."""
    rows, columns = np.mgrid[:height, :width]
    label = ((rows * 7 + columns * 3) % 40).astype(np.uint8)
    depth = (1 + rows * width + columns).astype(np.float32)
    return Sample(np.zeros((height, width, 3), np.uint8), label, depth, "coded")


class Coded(RGBDDataset):
    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        return coded(20, 30)._replace(image=image, name=str(index))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    source=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    low=st.floats(0.3, 2.0),
    spread=st.floats(1.0, 2.0),
)
def test_label_and_depth_of_a_pixel_come_from_one_source_pixel(
    seed: int, source: tuple[int, int], size: tuple[int, int], low: float, spread: float
) -> None:
    sample = coded(*source)
    options = Augmentation(scale=(low, low * spread))
    shown = augment(sample, size, np.random.default_rng(seed), options)
    assert shown.image.shape == (*size, 3)
    assert shown.label.shape == shown.depth.shape == size
    assert shown.label.dtype == np.uint8
    assert shown.depth.dtype == np.float32

    padded = shown.label == 255
    np.testing.assert_array_equal(padded, shown.depth == 0)
    seen = shown.depth[~padded].astype(float)
    if not seen.size:
        return
    # Undo the division by the scale: some scale must turn every value back into a whole code.
    rng = np.random.default_rng(seed)
    rng.random()
    scale = float(np.exp(rng.uniform(np.log(low), np.log(low * spread))))
    code = seen * scale - 1
    np.testing.assert_allclose(code, np.round(code), atol=2e-3)
    code = np.round(code).astype(int)
    rows, columns = np.divmod(code, source[1])
    np.testing.assert_array_equal((rows * 7 + columns * 3) % 40, shown.label[~padded])


def test_zooming_in_shows_things_larger_and_nearer_by_the_same_factor() -> None:
    height, width = 60, 80
    rows, columns = np.mgrid[:height, :width]
    depth = np.full((height, width), 6.0, np.float32)
    disc = ((rows - 30) ** 2 + (columns - 40) ** 2 < 8**2).astype(np.uint8)
    sample = Sample(np.zeros((height, width, 3), np.uint8), disc, depth, "disc")
    areas = []
    for seed in range(40):
        shown = augment(sample, (60, 80), np.random.default_rng(seed), Augmentation(scale=(2, 2)))
        np.testing.assert_allclose(shown.depth, 3.0)
        areas.append((shown.label == 1).sum())
    assert max(areas) == pytest.approx(4 * disc.sum(), rel=0.05)


def test_padding_has_no_label_no_depth_and_the_mean_colour() -> None:
    sample = coded(40, 40)._replace(image=np.full((40, 40, 3), 255, np.uint8))
    shown = augment(
        sample,
        (40, 40),
        np.random.default_rng(0),
        Augmentation(scale=(0.5, 0.5), brightness=0, contrast=0, saturation=0, hue=0),
    )
    padded = shown.label == 255
    assert padded.mean() == pytest.approx(0.75)
    np.testing.assert_array_equal(shown.image[padded], np.tile([124, 116, 104], (1200, 1)))
    np.testing.assert_array_equal(shown.image[~padded], 255)
    assert (shown.depth[padded] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.4, 1.4), (0.6, 0.6)])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_colour_moves_with_the_labels(scale: tuple[float, float], flip: float) -> None:
    """The image is the label map in colours, in large patches: afterwards it still is."""
    rng = np.random.default_rng(4)
    label = rng.integers(0, 6, (6, 8), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 0, 0], [250] * 3])
    sample = Sample(colours[label].astype(np.uint8), label, np.ones(label.shape, np.float32), "x")
    options = Augmentation(flip, scale, 0, 0, 0, 0)
    for seed in range(6):
        shown = augment(sample, (90, 130), np.random.default_rng(seed), options)
        inside = shown.label != 255
        distance = np.abs(shown.image[inside][:, None].astype(int) - colours[None]).sum(-1)
        assert (distance.argmin(1) == shown.label[inside]).mean() > 0.93
        if scale == (1.0, 1.0):
            corner = shown.label[0, -1] if flip else shown.label[0, 0]
            assert corner == label[0, 0]


def test_flipping_twice_is_doing_nothing() -> None:
    sample = GeneratedRooms("train", 1, size=(24, 32))[0]
    options = Augmentation(1.0, (1.0, 1.0), 0, 0, 0, 0)
    once = augment(sample, (24, 32), np.random.default_rng(0), options)
    twice = augment(once, (24, 32), np.random.default_rng(0), options)
    for before, between, after in zip(sample[:3], once[:3], twice[:3], strict=True):
        np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(before[:, ::-1], between)


def test_colour_changes_touch_the_colours_only_and_keep_grey_grey() -> None:
    sample = GeneratedRooms("train", 1, size=(24, 32))[0]
    options = Augmentation(0.0, (1.0, 1.0), 0.3, 0.3, 0.5, 0.1)
    shown = augment(sample, (24, 32), np.random.default_rng(1), options)
    assert not np.array_equal(shown.image, sample.image)
    np.testing.assert_array_equal(shown.label, sample.label)
    np.testing.assert_array_equal(shown.depth, sample.depth)
    grey = sample._replace(image=np.full((24, 32, 3), 90, np.uint8))
    for seed in range(8):
        colours = augment(grey, (24, 32), np.random.default_rng(seed), options).image.astype(int)
        assert np.ptp(colours, axis=-1).max() <= 1
    still = augment(sample, (24, 32), np.random.default_rng(1), Augmentation(0, (1, 1), 0, 0, 0, 0))
    np.testing.assert_array_equal(still.image, sample.image)


@pytest.mark.parametrize("share", [-1, 0.4, 1])
def test_colours_change_as_one_step_after_the_other_changes_them(share: float) -> None:
    """Hue by a turn about the grey axis, then saturation, brightness and contrast."""

    class Drawn:
        """A generator whose numbers all lie at one share of their range."""

        def random(self, size: int | None = None) -> float | np.ndarray:
            return 0.5 if size is None else np.full(size, 0.5)

        def uniform(self, low: float, high: float) -> float:
            return (low + high) / 2 + share * (high - low) / 2

    options = Augmentation(0, (1, 1), 0.1, 0.3, 0.5, 0.1)
    # Neither black nor white is reached, which would be cut.
    colours = np.random.default_rng(0).integers(70, 150, (6, 8, 3)).astype(np.uint8)
    sample = coded(6, 8)._replace(image=colours)
    found = augment(sample, (6, 8), Drawn(), options).image  # type: ignore[arg-type]

    turned = Rotation.from_rotvec(2 * np.pi * 0.1 * share * np.full(3, 3**-0.5)).apply(
        colours.reshape(-1, 3).astype(float)
    )
    grey = turned @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    vivid = grey[:, None] + (1 + 0.5 * share) * (turned - grey[:, None])
    contrast = 1 + 0.3 * share
    expected = 127.5 + contrast * ((1 + 0.1 * share) * vivid - 127.5)
    assert expected.min() > 0
    assert expected.max() < 255
    np.testing.assert_allclose(found.reshape(-1, 3), expected, atol=1)


def test_every_kind_of_change_really_varies() -> None:
    sample = GeneratedRooms("train", 1, size=(24, 32))[0]
    for options in (
        Augmentation(0.5, (1, 1), 0, 0, 0, 0),
        Augmentation(0, (1.5, 1.5), 0, 0, 0, 0),
        Augmentation(0, (0.5, 1.5), 0, 0, 0, 0),
        Augmentation(0, (1, 1), 0.2, 0, 0, 0),
        Augmentation(0, (1, 1), 0, 0.2, 0, 0),
        Augmentation(0, (1, 1), 0, 0, 0.2, 0),
        Augmentation(0, (1, 1), 0, 0, 0, 0.1),
    ):
        seen = {
            augment(sample, (24, 32), np.random.default_rng(seed), options).image.tobytes()
            for seed in range(8)
        }
        assert len(seen) > 1, options


@settings(max_examples=40, deadline=None)
@given(
    source=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_resizing_takes_the_nearest_label_and_depth(
    source: tuple[int, int], size: tuple[int, int]
) -> None:
    sample = coded(*source)
    shown = resize(sample, size)
    for row, column in np.ndindex(*size):
        # Integer arithmetic: the source pixel in which the centre of this one lies.
        from_row = (2 * row + 1) * source[0] // (2 * size[0])
        from_column = (2 * column + 1) * source[1] // (2 * size[1])
        assert shown.depth[row, column] == sample.depth[from_row, from_column]
        assert shown.label[row, column] == sample.label[from_row, from_column]
    kept = resize(sample, size, resize_target=False)
    assert kept.image.shape == (*size, 3)
    assert kept.label is sample.label


def test_resizing_averages_colours_instead_of_skipping_them() -> None:
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    sample = Sample(stripes, np.zeros((8, 64), np.uint8), np.ones((8, 64), np.float32), "stripes")
    small = resize(sample, (8, 8)).image[:, 2:-2].astype(int)
    assert np.abs(small - 127.5).max() < 12


def batches(loader: DataLoader) -> list[torch.Tensor]:
    return [tensor for batch in loader for tensor in (batch.image, batch.label, batch.depth)]


def test_workers_change_nothing_and_epochs_change_everything() -> None:
    data = Augmented(Coded(), (16, 24), seed=5)
    alone = DataLoader(data, batch_size=3)
    helped = DataLoader(data, batch_size=3, num_workers=2, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 7):
        data.set_epoch(epoch)
        assert data.epoch == epoch
        here, there = batches(alone), batches(helped)
        for one, two in zip(here, there, strict=True):
            assert torch.equal(one, two)
        seen.append(torch.cat([b.flatten().double() for b in here]))
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    data.set_epoch(1)
    assert torch.equal(seen[1], torch.cat([b.flatten().double() for b in batches(helped)]))


def test_another_seed_draws_other_variations() -> None:
    one, two = (Augmented(Coded(), (16, 24), seed=seed)[0].image for seed in (0, 1))
    assert not torch.equal(one, two)


def test_frames_of_one_epoch_are_varied_differently() -> None:
    class Same(Coded):
        def __getitem__(self, index: int) -> Sample:
            return super().__getitem__(0)

    data = Augmented(Same(), (16, 24), seed=2)
    assert len({data[index].depth.numpy().tobytes() for index in range(6)}) > 3


def test_resized_yields_batches_of_tensors() -> None:
    batch = next(iter(DataLoader(Resized(Coded(), (10, 12)), batch_size=4)))
    assert batch.image.shape == (4, 3, 10, 12)
    assert batch.label.shape == batch.depth.shape == (4, 10, 12)
    assert list(batch.name) == ["0", "1", "2", "3"]
    kept = Resized(Coded(), (10, 12), resize_target=False)[0]
    assert kept.image.shape == (3, 10, 12)
    assert kept.label.shape == (20, 30)
    assert len(Resized(Coded(), (4, 4))) == len(Augmented(Coded(), (4, 4))) == 11


def test_denormalising_gives_the_picture_back() -> None:
    sample = Coded()[3]
    np.testing.assert_array_equal(denormalise(Resized(Coded(), (20, 30))[3].image), sample.image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"Expected `scale` as \(low, high\).* got \(0.0, 1.0\)"),
        ({"scale": (2.0, 1.0)}, "0 < low <= high"),
        ({"flip": 1.5}, r"Expected `flip` in \[0, 1\], but got 1.5"),
        ({"hue": -0.1}, "Expected `hue`"),
    ],
)
def test_bad_options_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)
