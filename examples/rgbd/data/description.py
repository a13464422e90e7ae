"""``dataset.json``: what the files of a folder mean. See the page "Your own data" for its entries."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.presets import way_in
from examples.rgbd.data.spec import DatasetSpec

MANIFEST = "dataset.json"
MOST_CLASSES = 65_000
TAKEN_NAMES = ("rooms", "nyudv2", "sunrgbd")  # names of what is no described folder
DepthMeaning = Literal["metric", "relative"]


@dataclass(frozen=True)
class LabelFormat:
    """What the numbers of a label map mean.

    Attributes:
        first_class: the number that stands for class 0.
        void: the numbers that stand for no class.
    """

    first_class: int = 0
    void: tuple[int, ...] = (255,)


@dataclass(frozen=True)
class DepthFormat:
    """What the numbers of a depth map mean.

    Attributes:
        per_metre: stored steps to a metre; 1000 is millimetres.
        missing: the numbers that stand for no depth, beside 0, what is negative or not finite.
        kind: "metric", or "relative": numbers that rise with the distance, on a scale of each
            image's own. The least of an image becomes level 1, the greatest level 256.
        inverse: relative numbers fall with the distance, as disparity does.
    """

    per_metre: float = 1000.0
    missing: tuple[float, ...] = (0,)
    kind: DepthMeaning = "metric"
    inverse: bool = False


@dataclass(frozen=True)
class Description:
    """The content of ``dataset.json``.

    Attributes:
        name: of the data set.
        classes: the class names, in order.
        near: metres that become level 1.
        far: metres that become level 256.
        label: what the label maps hold.
        depth: what the depth maps hold; None where there is no depth at all.
        splits: the list file of each split.
        palette: a colour for each class, or None.
        intrinsics: of the camera of all frames, or None; HHA and normals need it.
    """

    name: str
    classes: tuple[str, ...]
    near: float = 0.5
    far: float = 10.0
    label: LabelFormat = field(default_factory=LabelFormat)
    depth: DepthFormat | None = field(default_factory=DepthFormat)
    splits: Mapping[str, str] = field(
        default_factory=lambda: {"train": "train.txt", "test": "test.txt"}
    )
    palette: tuple[tuple[int, int, int], ...] | None = None
    intrinsics: Intrinsics | None = None

    def spec(self) -> DatasetSpec:
        """The same as facts of a data set."""
        relative = self.depth is not None and self.depth.kind == "relative"
        return DatasetSpec(
            name=self.name,
            title=self.name,
            classes=self.classes,
            depth_limits=(1.0, 256.0) if relative else (self.near, self.far),
            opener="examples.rgbd.data.described:open_described",
            colours=self.palette,
            metric=not relative,
            indoor=False,
            camera=self.intrinsics,
        )

    def as_json(self) -> str:
        """The text of the file."""
        depth: dict[str, Any] | None = None
        if self.depth is not None:
            depth = {"per_metre": self.depth.per_metre, "missing": list(self.depth.missing)}
            depth["kind"] = self.depth.kind
            if self.depth.inverse:
                depth["inverse"] = True
        content: dict[str, Any] = {"name": self.name, "classes": list(self.classes)}
        if self.palette is not None:
            content["palette"] = [list(colour) for colour in self.palette]
        content |= {
            "label": {"first_class": self.label.first_class, "void": list(self.label.void)},
            "depth": depth,
            "near": self.near,
            "far": self.far,
            "splits": dict(self.splits),
        }
        if self.intrinsics is not None:
            content["intrinsics"] = asdict(self.intrinsics)
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


class _Entries:
    """Reads entries of a JSON object, and says which one cannot be used."""

    def __init__(self, content: Any, path: Path, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(content, dict):
            raise DataError(
                f"Expected {f'{where[:-1]!r} to be ' if where else ''}an object {{...}} in {path}, "
                f"but got {content!r:.60}."
            )
        self.content: dict[str, Any] = content

    def fail(self, key: str, wanted: str, got: Any) -> DataError:
        return DataError(
            f"Expected {self.where + key!r} in {self.path} to be {wanted}, but got {got!r:.60}."
        )

    def known(self, *keys: str) -> None:
        for key in self.content:
            if key not in keys:
                raise DataError(
                    f"Expected the entries {', '.join(keys)} in {self.path}, but got "
                    f"{self.where + key!r}: is it misspelt?"
                )

    def number(self, key: str, default: float, least: float) -> float:
        value = self.content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fail(key, "a number", value)
        if not (math.isfinite(value) and value >= least):
            raise self.fail(key, f"a number of at least {least:g}", value)
        return value

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[Any, ...]:
        values = self.content.get(key, list(default))
        values = values if isinstance(values, list) else [values]
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            raise self.fail(key, "a list of numbers", values)
        return tuple(values)

    def text(self, key: str, default: str) -> str:
        value = self.content.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.fail(key, "a name", value)
        return value


def parse_description(content: Any, path: Path) -> Description:
    """A description from the content of ``dataset.json``.

    Raises:
        DataError: an entry is missing, misspelt or cannot be used.
    """
    entries = _Entries(content, path)
    entries.known(
        "name", "classes", "palette", "label", "depth", "near", "far", "splits", "source", "comment",
        "intrinsics",
    )  # fmt: skip
    classes = entries.content.get("classes")
    if not (isinstance(classes, list) and classes and all(isinstance(n, str) for n in classes)):
        raise entries.fail("classes", "a list of class names", classes)
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise entries.fail("classes", f"2 to {MOST_CLASSES} names", len(classes))
    check_names(classes, path)
    label = _Entries(entries.content.get("label", {}), path, "label.")
    label.known("first_class", "void")
    first = label.number("first_class", 0, 0)
    void = label.numbers("void", (255,) if first == 0 else (0,))
    if int(first) != first or any(int(v) != v for v in void):
        raise label.fail("first_class", "a whole number, like those of void", first)
    clash = [int(v) for v in void if first <= v < first + len(classes)]
    if clash:
        raise DataError(
            f"Expected the numbers of void in {path} to be other than those of the classes, "
            f"{first:g}..{first + len(classes) - 1:g}, but {clash[0]} is among them."
        )
    near = entries.number("near", 0.5, 0)
    far = entries.number("far", 10.0, 0)
    if not near < far:
        raise entries.fail("far", f"beyond near, which is {near:g}", far)
    splits = entries.content.get("splits", {"train": "train.txt", "test": "test.txt"})
    if not (isinstance(splits, dict) and all(isinstance(v, str) for v in splits.values())):
        raise entries.fail("splits", '{"train": "train.txt", "test": "test.txt"}', splits)
    name = entries.text("name", path.resolve().parent.name)
    if name in TAKEN_NAMES:
        raise entries.fail("name", f"other than {', '.join(TAKEN_NAMES)}", name)
    return Description(
        name=name,
        classes=tuple(classes),
        near=float(near),
        far=float(far),
        label=LabelFormat(int(first), tuple(int(v) for v in void)),
        depth=_depth_format(entries, path),
        splits=splits,
        palette=_palette(entries, len(classes)),
        intrinsics=_intrinsics(entries, path),
    )


def check_names(classes: Sequence[str], path: Path) -> None:
    """See that no two classes have one name, under which the figures of one would be lost.

    Raises:
        DataError: two have.
    """
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise DataError(
            f"Expected a name of its own for each class in {path}, but {repeated[0]!r} stands there "
            f"{list(classes).count(repeated[0])} times: tell them apart by a number."
        )


def _depth_format(entries: _Entries, path: Path) -> DepthFormat | None:
    content = entries.content.get("depth", {})
    if content is None:
        return None
    depth = _Entries(content, path, "depth.")
    depth.known("per_metre", "missing", "kind", "inverse")
    kind = depth.text("kind", "metric")
    if kind not in ("metric", "relative"):
        raise depth.fail("kind", '"metric" or "relative"', kind)
    inverse = depth.content.get("inverse", False)
    if not isinstance(inverse, bool):
        raise depth.fail("inverse", "true or false", inverse)
    if inverse and kind == "metric":
        raise DataError(
            f'Expected depth.inverse in {path} with "kind": "relative", but the kind is metric: '
            "disparity is no depth in metres without the camera's base line and focal length."
        )
    per_metre = depth.number("per_metre", 1000.0, 0)
    if per_metre == 0:
        raise depth.fail("per_metre", "above 0", per_metre)
    return DepthFormat(
        per_metre=per_metre,
        missing=depth.numbers("missing", (0,)),
        kind="relative" if kind == "relative" else "metric",
        inverse=inverse,
    )


def _intrinsics(entries: _Entries, path: Path) -> Intrinsics | None:
    content = entries.content.get("intrinsics")
    if content is None:
        return None
    camera = _Entries(content, path, "intrinsics.")
    camera.known("fx", "fy", "cx", "cy", "height", "width")
    for key in ("fx", "fy", "cx", "cy", "height", "width"):
        if key not in camera.content:
            raise camera.fail(key, "a number of pixels", None)
    height, width = camera.number("height", 0, 1), camera.number("width", 0, 1)
    if int(height) != height or int(width) != width:
        raise camera.fail("height", "a whole number, as is the width", (height, width))
    fx, fy = camera.number("fx", 0, 0), camera.number("fy", 0, 0)
    if not min(fx, fy) > 0:
        raise camera.fail("fx", "above 0, as is fy", (fx, fy))
    cx, cy = camera.number("cx", 0, -math.inf), camera.number("cy", 0, -math.inf)
    return Intrinsics(fx, fy, cx, cy, int(height), int(width))


def _palette(entries: _Entries, count: int) -> tuple[tuple[int, int, int], ...] | None:
    palette = entries.content.get("palette")
    if palette is None:
        return None
    right = isinstance(palette, list) and all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(isinstance(v, int) and 0 <= v <= 255 for v in colour)
        for colour in palette
    )
    if not right or len(palette) != count:
        raise entries.fail(
            "palette",
            f"a colour [r, g, b] of 0..255 for each of the {count} classes",
            len(palette) if right else palette,
        )
    return tuple((colour[0], colour[1], colour[2]) for colour in palette)


def read_json(path: Path) -> dict[str, Any]:
    """The content of ``dataset.json``.

    Raises:
        DataError: there is none, or it is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(
            f"Expected {path}, which says what the files of the folder mean, but there is no such "
            f"file: did you mean another folder, or {way_in(path.parent)}?"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Expected a description in {path}, but it cannot be read: {error}."
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"Expected JSON in {path}, but line {error.lineno} cannot be read ({error.msg}): is a "
            "comma or a quotation mark missing?"
        ) from None
    if not isinstance(content, dict):
        raise DataError(f"Expected an object {{...}} in {path}, but got {content!r:.60}.")
    return content
