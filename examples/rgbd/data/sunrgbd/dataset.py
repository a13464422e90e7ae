"""Opening SUN RGB-D: the original archives, or with labels that others have extracted."""

from __future__ import annotations

from pathlib import Path

from examples.rgbd.data.dataset import Files, FrameSource, read_lines
from examples.rgbd.data.description import MANIFEST
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import picture_size, read_image
from examples.rgbd.data.files.units import check_sizes
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.plain import PlainFrames
from examples.rgbd.data.presets import way_in
from examples.rgbd.data.spec import DepthKind, DepthUse, Split
from examples.rgbd.data.sunrgbd.labels import (
    ArrayLabels,
    ContainerLabels,
    LabelReader,
    PictureLabels,
)
from examples.rgbd.data.sunrgbd.scenes import (
    ARCHIVE,
    archive_folder,
    below_archive,
    depth_folder,
    only_picture,
    read_all_split,
    read_intrinsics,
    read_rotated_depth,
)
from examples.rgbd.data.sunrgbd.spec import SUNRGBD

_TEST_FRAMES = 5050
_TOOLBOX = "SUNRGBDtoolbox"
_LIST_FOLDERS = ("", "list_files", "data")
_LIST_NAMES = (
    # of the images, the labels and the depth; {} is the split
    ("img_dir_{}.txt", "label_{}.txt", "depth_dir_{}.txt"),  # RedNet, ACNet
    ("{}_rgb.txt", "{}_label.txt", "{}_depth.txt"),  # ESANet
)
_HANDA_LISTS = {"train": "sunrgbd_training_images.txt", "test": "sunrgbd_testing_images.txt"}


def open_sunrgbd(
    root: Path, split: Split, layout: str | None, depth: DepthKind, use_depth: DepthUse
) -> FrameSource:
    """The frames of a split in a layout; see `DatasetSpec.open`.

    Without a name the first of plain, toolbox, lists and handa that is there is taken: they hold
    the same labels. The frames have different sizes, from sensor to sensor.
    """
    if layout is not None and layout not in SUNRGBD.layouts:
        known = ", ".join(SUNRGBD.layouts)
        raise DataError(f"Expected `layout` to be one of {known}, but got {layout!r}.")
    layout = layout or _recognise(root)
    if layout == "plain":
        return PlainFrames(root, split, depth, SUNRGBD)
    opener = {"toolbox": _open_toolbox, "lists": _open_lists, "handa": _open_handa}[layout]
    return opener(root, split, depth)


class SceneFrames(FrameSource):
    """Frames in scene folders, labels from anywhere; see `FrameSource`.

    Args:
        layout: its name.
        scenes: the scene folders.
        labels: where the labels come from, in the order of the scenes.
        depth: the kind of depth.
    """

    def __init__(
        self, layout: str, scenes: list[Path], labels: LabelReader, depth: DepthKind, first: int
    ) -> None:
        # Numbers over both splits, test first: the order of the labels everywhere.
        names = [f"{first + place + 1:06d}" for place in range(len(scenes))]
        super().__init__(SUNRGBD, layout, names)
        self.scenes = scenes
        self.labels = labels
        self._folder = depth_folder(depth)

    def files(self, index: int) -> Files:
        """Where a frame lies, or a `DataError` if its scene has no image or depth."""
        scene = self.scenes[index]
        return Files(
            image=only_picture(scene / "image", ".jpg", "the image"),
            label=self.labels.file(index),
            depth=self._depth_file(scene / self._folder),
        )

    def _depth_file(self, folder: Path) -> Path | None:
        if self.use_depth == "none" or (self.use_depth == "optional" and not folder.is_dir()):
            return None
        return only_picture(folder, ".png", "depth")

    def camera(self, index: int) -> Intrinsics | None:
        """The camera of a frame, which lies in its scene's folder."""
        scene = self.scenes[index]
        size = picture_size(only_picture(scene / "image", ".jpg", "the image"))
        return read_intrinsics(scene / "intrinsics.txt", size)

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        files = self.files(index)
        image = read_image(files.image)
        label = self.labels.read(index)
        depth = self._depth_of(files.depth, read_rotated_depth, image.shape[:2])
        label_place = Path(f"{files.label} (the label of {files.image})")
        check_sizes(image, label, depth, files._replace(label=label_place))
        return Sample(image, label, depth, self.names[index])


def _toolbox(root: Path) -> Path:
    """The toolbox, in the root or beside it."""
    inside = root / _TOOLBOX
    return inside if inside.is_dir() or root.name != "SUNRGBD" else root.parent / _TOOLBOX


def _list_files(root: Path, split: Split) -> tuple[Path, ...] | None:
    """The lists of the images, the labels and the depth; the last need not be there."""
    for folder in _LIST_FOLDERS:
        for names in _LIST_NAMES:
            files = tuple(root / folder / name.format(split) for name in names)
            if files[0].exists():
                return files
    return None


def _handa_lists(root: Path) -> dict[str, Path] | None:
    for folder in _LIST_FOLDERS:
        lists = {split: root / folder / name for split, name in _HANDA_LISTS.items()}
        if all(path.exists() for path in lists.values()):
            return lists
    return None


def _recognise(root: Path) -> str:
    if (root / MANIFEST).exists():
        return "plain"
    if (_toolbox(root) / "Metadata" / "SUNRGBD2Dseg.mat").exists():
        return "toolbox"
    if _list_files(root, "train") or _list_files(root, "test"):
        return "lists"
    if _handa_lists(root):
        return "handa"
    raise DataError(
        f"Expected SUN RGB-D in {root} in one of the layouts {', '.join(SUNRGBD.layouts)}, but found "
        f"none of them (toolbox, for one, has {_TOOLBOX}/Metadata/SUNRGBD2Dseg.mat beside "
        f"SUNRGBD/): did you mean the folder above or below, or {way_in(root)}?"
    )


def _open_toolbox(root: Path, split: Split, depth: DepthKind) -> SceneFrames:
    toolbox = _toolbox(root)
    scenes = read_all_split(toolbox / "traintestSUNRGBD" / "allsplit.mat")
    first = 0 if split == "test" else len(scenes["test"])
    labels = ContainerLabels(
        toolbox / "Metadata" / "SUNRGBD2Dseg.mat", first, len(scenes["test"]) + len(scenes["train"])
    )
    archive = archive_folder(root)
    folders = [archive / scene for scene in scenes[split]]
    return SceneFrames("toolbox", folders, labels, depth, first)


def _open_lists(root: Path, split: Split, depth: DepthKind) -> SceneFrames:
    lists = _list_files(root, split)
    if lists is None:
        names = " or ".join(name[0].format(split) for name in _LIST_NAMES)
        raise DataError(
            f"Expected the list of {split} images in {root} as {names}, but found neither."
        )
    images, labels = (list(map(below_archive, read_lines(path))) for path in lists[:2])
    _check_rows(images, lists[0], labels, lists[1], "labels")
    if lists[2].exists():  # the depth itself lies in the scene of the image
        depths = list(map(below_archive, read_lines(lists[2])))
        _check_rows(images, lists[0], depths, lists[2], "depth maps")
    # With ESANet's script, labels lie below SUNRGBD/ and images may lie beside it.
    image_base, label_base = (_base(root, paths[0]) for paths in (images, labels))
    scenes = [(image_base / image).parent.parent for image in images]
    first = 0 if split == "test" else _TEST_FRAMES
    arrays = ArrayLabels([label_base / path for path in labels])
    return SceneFrames("lists", scenes, arrays, depth, first)


def _scene(listed: str) -> str:
    """The scene folder of a listed file, which lies in a folder of it."""
    return listed.rsplit("/", 2)[0]


def _check_rows(
    images: list[str], image_list: Path, others: list[str], other_list: Path, kind: str
) -> None:
    """See that two lists name the same scenes, row by row, and none twice.

    Raises:
        DataError: they do not.
    """
    if len(images) != len(others):
        raise DataError(
            f"Expected as many {kind} as images in {other_list}, but got {len(others)} for "
            f"{len(images)}."
        )
    seen: dict[str, int] = {}
    for row, (image, other) in enumerate(zip(images, others, strict=True), 1):
        if _scene(image) != _scene(other):
            raise DataError(
                f"Expected the scene of line {row} of {image_list}, {_scene(image)}, in the same "
                f"line of {other_list}, but got {_scene(other)}: was one of the lists sorted or cut?"
            )
        if seen.setdefault(image, row) != row:
            raise DataError(
                f"Expected each frame once in {image_list}, but lines {seen[image]} and {row} are "
                f"both {image}."
            )


def _base(root: Path, example: str) -> Path:
    """The folder that listed paths start from, found by one of them."""
    for base in (root / ARCHIVE, root):
        if (base / example).exists():
            return base
    return archive_folder(root)


def _open_handa(root: Path, split: Split, depth: DepthKind) -> SceneFrames:
    lists = _handa_lists(root)
    if lists is None:
        names = " and ".join(_HANDA_LISTS.values())
        raise DataError(f"Expected the lists {names} in {root}, but did not find both.")
    images = {key: list(map(below_archive, read_lines(path))) for key, path in lists.items()}
    first = 0 if split == "test" else len(images["test"])
    archive = archive_folder(root)
    scenes = [(archive / image).parent.parent for image in images[split]]
    folder = _handa_labels(root)
    total = len(images["test"]) + len(images["train"])
    last = max(int(path.stem[4:]) for path in folder.glob("img-[0-9]*.png"))
    if last > total:
        raise DataError(
            f"Expected labels of the {total} images that both lists name in {folder}, but they go "
            f"up to number {last}: are the lists cut? Labels are found by the place of their image."
        )
    labels = PictureLabels(folder, first)
    return SceneFrames("handa", scenes, labels, depth, first)


def _handa_labels(root: Path) -> Path:
    """The folder, the root or one right below it, that holds the label pictures."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    for folder in folders:
        if next(folder.glob("img-[0-9]*.png"), None):
            return folder
    raise DataError(
        f"Expected the labels img-000001.png ... in {root} or a folder in it, but found none: is "
        "sunrgbd_train_test_labels.tar.gz unpacked there?"
    )
