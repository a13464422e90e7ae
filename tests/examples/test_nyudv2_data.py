"""NYUDv2 from folders in every layout, invented ones and real ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from examples.rgbd.data import SUNRGBD, label_palette
from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.nyudv2.layouts import LAYOUTS
from examples.rgbd.data.nyudv2.spec import NYUDV2
from tests.examples.layout_writers import (
    HEIGHT,
    WIDTH,
    WRITERS,
    refusal,
    save,
    scene,
    write_sa_gate,
    write_vainf,
    zero_void,
)

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
REAL = SHARED / "nyudv2"


def agree(dataset: FrameSource, split: str, atol: float = 1e-6) -> None:
    numbers = {"train": (3, 4), "test": (1,)}[split]
    assert len(dataset) == len(numbers)
    for index, number in enumerate(numbers):
        image, label, depth = scene(number)
        sample = dataset[index]
        assert (sample.image.dtype, sample.label.dtype, sample.depth.dtype) == ("u1", "u1", "f4")
        if dataset.layout not in ("sa-gate", "nyud-mt"):  # whose pictures are JPEG
            np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.label, label)
        np.testing.assert_allclose(sample.depth, depth / 1000, atol=atol)
        assert int(sample.name) % 1000 in (number, number - 1)


def test_every_layout_has_a_writer() -> None:
    assert {layout.name for layout in LAYOUTS} == set(WRITERS)
    assert set(NYUDV2.layouts) == {"plain", "mat", *WRITERS}


def test_the_data_sets_are_as_published() -> None:
    assert NYUDV2.split_sizes == {"train": 795, "test": 654}
    assert SUNRGBD.split_sizes == {"train": 5285, "test": 5050}
    # The 40 classes of Gupta et al.; SUN RGB-D's 37 are those without the last three.
    first = "wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds"
    assert (len(NYU40), NYU40[:13]) == (40, tuple(first.split()))
    assert NYU40[37:] == ("otherstructure", "otherfurniture", "otherprop")
    assert SUNRGBD.classes == NYU40[:37]
    # VOC's colours, without the black of its background.
    colours = label_palette(255)
    assert colours[:4].tolist() == [[128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colours[6:9].tolist() == [[128, 128, 128], [64, 0, 0], [192, 0, 0]]
    assert len({tuple(colour) for colour in colours.tolist()}) == 255
    assert (label_palette(40) == colours[:40]).all()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_layout_is_recognised_and_read(tmp_path: Path, name: str, split: str) -> None:
    WRITERS[name](tmp_path)
    assert NYUDV2.open(tmp_path, split).layout == name
    agree(NYUDV2.open(tmp_path, split), split)
    agree(NYUDV2.open(str(tmp_path), split, layout=name), split)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("cmx", "sa-gate"), ("dformer", "sa-gate"), ("densetorch", "drsleep"), ("fcn", "gupta")],
)
def test_a_layout_under_another_name(tmp_path: Path, name: str, layout: str) -> None:
    WRITERS[layout](tmp_path)
    dataset = NYUDV2.open(tmp_path, "train", layout=name)
    assert dataset.layout == layout
    agree(dataset, "train")


@pytest.mark.parametrize(("npy", "bare"), [(True, False), (False, True)])
def test_sa_gate_with_float_depth_and_lists_of_bare_numbers(
    tmp_path: Path, npy: bool, bare: bool
) -> None:
    write_sa_gate(tmp_path, npy=npy, bare=bare)
    agree(NYUDV2.open(tmp_path, "train"), "train")


def test_float_depth_takes_what_is_not_a_number_as_missing(tmp_path: Path) -> None:
    write_sa_gate(tmp_path, npy=True)
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[0, :4] = np.nan, np.inf, -1.0, -np.inf
    np.save(tmp_path / "Depth/2.npy", depth)
    read = NYUDV2.open(tmp_path, "train")[0].depth
    np.testing.assert_array_equal(read[0, :5], [0, 0, 0, 0, 2])
    assert (read[1:] == 2).all()


@pytest.mark.parametrize("name", ["esanet", "nicr"])
def test_raw_depth_by_option(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    raw, painted = (
        NYUDV2.open(tmp_path, "train", depth=kind)[0].depth for kind in ("raw", "inpainted")
    )
    np.testing.assert_allclose(raw, np.where(painted > 5, 0, painted), atol=1e-6)
    assert (raw == 0).sum() > (painted == 0).sum()


@pytest.mark.parametrize("name", ["esanet", "nicr"])
def test_frames_are_found_without_lists(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path)
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").unlink()
        agree(NYUDV2.open(tmp_path, split), split)


@pytest.mark.parametrize(
    ("listed", "named"),
    [
        ("0003.jpg", "3"),  # padded, where the layout pads nothing
        ("3.jpeg", "3"),
        ("3.JPG", "3"),
        ("3.png", "3"),
        ("kitchen_0003.jpg", "kitchen_0003"),
        ("a.b.jpg", "a.b"),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_names_are_those_of_the_list(tmp_path: Path, listed: str, named: str, bare: bool) -> None:
    write_sa_gate(tmp_path)
    stem, ending = listed.rsplit(".", 1)
    image = (tmp_path / "RGB/3.jpg").rename(tmp_path / f"RGB/{listed}")
    if ending == "png":
        Image.fromarray(scene(4)[0]).save(image)
    for folder in ("Label", "Depth"):
        (tmp_path / f"{folder}/3.png").rename(tmp_path / f"{folder}/{stem}.png")
    line = stem if bare else f"RGB/{listed}\tLabel/{stem}.png"
    (tmp_path / "train.txt").write_text(f"RGB/2.jpg\tLabel/2.png\n{line}\n")
    frames = NYUDV2.open(tmp_path, "train")
    assert frames.names == ["2", named]
    assert frames.files(1).image == image
    np.testing.assert_array_equal(frames[1].label, scene(4)[1])
    np.testing.assert_allclose(frames[1].depth, scene(4)[2] / 1000, atol=1e-6)


def test_frames_of_one_split_may_keep_depth_in_different_files(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    stored = np.array(Image.open(tmp_path / "Depth/3.png"))
    (tmp_path / "Depth/3.png").unlink()
    np.save(tmp_path / "Depth/3.npy", stored.astype(np.float32) / 1000)
    agree(NYUDV2.open(tmp_path, "train"), "train")


@pytest.mark.parametrize("columns", [2, 3])
def test_every_column_of_a_list_is_used(tmp_path: Path, columns: int) -> None:
    """Label and depth are those that the line names, not those of the image's number."""
    WRITERS["drsleep"](tmp_path)
    for folder, other in (("masks", 9), ("depth", 8)):
        (tmp_path / f"{folder}/000003.png").rename(tmp_path / f"{folder}/{other:06d}.png")
    save(tmp_path / "masks/000003.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    save(tmp_path / "depth/000003.png", np.full((HEIGHT, WIDTH), 9999, np.uint16))
    line = "rgb/000003.png\tmasks/000009.png" + "\tdepth/000008.png" * (columns == 3)
    (tmp_path / "train_list_depth.txt").write_text(f"{line}\n")
    sample = NYUDV2.open(tmp_path, "train")[0]
    np.testing.assert_array_equal(sample.label, scene(3)[1])
    expected = scene(3)[2] / 1000 if columns == 3 else np.full((HEIGHT, WIDTH), 9999 / 5000)
    np.testing.assert_allclose(sample.depth, expected, atol=1e-6)
    (tmp_path / "masks/000009.png").unlink()
    refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(tmp_path / "masks/000009.png"))


def test_folders_say_what_a_column_holds(tmp_path: Path) -> None:
    WRITERS["drsleep"](tmp_path)
    path = tmp_path / "train_list_depth.txt"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    path.write_text("".join(f"{depth} {label} {image}\n" for image, label, depth in rows))
    agree(NYUDV2.open(tmp_path, "train"), "train")


@pytest.mark.parametrize("ending", ["png", "mat"])
def test_nyud_mt_is_not_taken_for_gupta(tmp_path: Path, ending: str) -> None:
    """The same folders, but depth in metres, and lists of its own."""
    WRITERS["nyud-mt"](tmp_path)
    if ending == "mat":  # as ASTMT handed it out
        for number in (3, 4, 1):
            _, label, depth = scene(number)
            (tmp_path / f"segmentation/{number:04d}.png").unlink()
            save(tmp_path / f"segmentation/{number:04d}.mat", zero_void(label))
            (tmp_path / f"depth/{number:04d}.npy").unlink()
            scipy.io.savemat(
                tmp_path / f"depth/{number:04d}.mat", {"depth": depth.astype(np.float32) / 1000}
            )
    frames = NYUDV2.open(tmp_path, "train")
    assert frames.layout == "nyud-mt"
    agree(frames, "train")
    assert NYUDV2.open(tmp_path, "train", layout="mti-net").layout == "nyud-mt"
    with pytest.raises(DataError, match="gupta"):
        NYUDV2.open(tmp_path, "train", layout="gupta")


def test_lists_with_windows_line_ends_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    for content in (
        "\ufeffRGB\\2.jpg\tLabel\\2.png\r\n\r\nRGB\\3.jpg\tLabel\\3.png\r\n",
        "\ufeff2\r\n \r\n3",
    ):
        (tmp_path / "train.txt").write_bytes(content.encode())
        agree(NYUDV2.open(tmp_path, "train"), "train")


def test_class_numbers_start_where_the_layout_says(tmp_path: Path) -> None:
    write_vainf(tmp_path)
    flat = np.full((HEIGHT, WIDTH), 7, np.uint8)
    save(tmp_path / "seg40/train/00003.png", flat)
    assert NYU40[NYUDV2.open(tmp_path, "train")[0].label[0, 0]] == "door"
    write_sa_gate(tmp_path / "other")
    save(tmp_path / "other/Label/2.png", flat)
    assert NYU40[NYUDV2.open(tmp_path / "other", "train")[0].label[0, 0]] == "table"


# --- the real frames -----------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real frames in ../shared/data/nyudv2")
def test_real_frames() -> None:
    train, test = NYUDV2.open(REAL, "train"), NYUDV2.open(REAL, "test")
    assert (len(train), len(test), train.layout) == (795, 654, "sa-gate")
    assert not set(train.names) & set(test.names)
    sample = test[0]
    assert sample.image.shape == (480, 640, 3)
    # Read once more by other means.
    stored = np.asarray(Image.open(REAL / f"Label/{sample.name}.png")).astype(int)
    np.testing.assert_array_equal(sample.label, np.where(stored == 0, 255, stored - 1))
    depth = np.asarray(Image.open(REAL / f"Depth/{sample.name}.png")) / 1000
    np.testing.assert_allclose(sample.depth, depth, atol=1e-6)
    # The floor lies low in the picture, the ceiling high: class 1 and class 21, not one off.
    heights: dict[int, list[float]] = {1: [], 21: []}
    for index in range(0, 40, 4):
        label = train[index].label
        for value, found in heights.items():
            rows = np.nonzero(label == value)[0]
            found += [rows.mean()] if rows.size > 500 else []
    assert np.mean(heights[1]) > 300
    assert np.mean(heights[21]) < 120


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real samples in ../shared/data")
def test_a_real_sample_of_sa_gate_with_float_depth() -> None:
    root = SHARED / "nyudv2_layouts/sa_gate/DATA/NYUDepthv2"
    sample = NYUDV2.open(root, "test")[0]
    np.testing.assert_allclose(sample.depth, np.load(root / "Depth/0.npy"))
    ours = NYUDV2.open(REAL, "test")[0]
    np.testing.assert_array_equal(sample.label, ours.label)
    assert np.abs(sample.depth - ours.depth).max() < 0.03


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real samples in ../shared/data")
def test_a_real_sample_of_drsleep_agrees_with_sa_gate(tmp_path: Path) -> None:
    files = SHARED / "nyudv2_layouts/drsleep"
    for folder, name in (
        ("rgb", "000464"),
        ("masks", "segm_gt_000464"),
        ("depth", "depth_gt_000464"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "000464.png").symlink_to((files / f"{name}.png").resolve())
    (tmp_path / "val_list_depth.txt").write_text(
        "rgb/000464.png\tmasks/000464.png\tdepth/000464.png\n"
    )
    other = NYUDV2.open(tmp_path, "test")[0]
    sa_gate = NYUDV2.open(REAL, "test" if "463" in NYUDV2.open(REAL, "test").names else "train")
    ours = sa_gate[sa_gate.names.index("463")]
    both = (other.label != 255) & (ours.label != 255)
    assert both.mean() > 0.5
    assert (other.label == ours.label)[both].mean() > 0.98
    seen = (other.depth > 0) & (ours.depth > 0)
    assert np.median(np.abs(other.depth - ours.depth)[seen]) < 0.03


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real lists in ../shared/data")
def test_real_lists(tmp_path: Path) -> None:
    lists = SHARED / "nyudv2_layouts/lists"
    for source, folders, names in (
        ("charlesCXK", ("RGB", "Label", "Depth"), ("train.txt", "test.txt")),
        ("densetorch", ("rgb", "masks", "depth"), ("train_list_depth.txt", "val_list_depth.txt")),
        ("drsleep_lw", ("rgb", "masks", "depth"), ("train.nyu", "val.nyu")),
        ("fcn", ("images", "segmentation", "depth"), ("train.txt", "val.txt", "test.txt")),
    ):
        root = tmp_path / source
        for folder in folders:
            (root / folder).mkdir(parents=True)
        for name in names:
            (root / name).write_bytes((lists / source / name).read_bytes())
            for layout in LAYOUTS:  # a frame of each list, in whatever layout
                number = re.search(r"\d+", (root / name).read_text()).group()
                for template in (layout.images[0], layout.labels[0], layout.depths[0]):
                    frame = root / template.format(
                        split="", id=str(int(number)).zfill(layout.digits)
                    )
                    if frame.parent.is_dir():
                        frame.touch()
        train, test = NYUDV2.open(root, "train"), NYUDV2.open(root, "test")
        counts = (len(train), len(test))
        numbers = sorted(int(frame) for frame in train.names + test.names)
        assert len(set(numbers)) == len(numbers)
        assert counts == (795, 654) if source != "fcn" else sum(counts) >= 1448, source
        assert numbers[-1] - numbers[0] == 1448
        assert re.fullmatch(r"\d+", train.names[0])
