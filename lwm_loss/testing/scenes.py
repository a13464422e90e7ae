"""Inputs that are made by the very code that a failure prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st
from torch import Tensor

from . import strategies
from .calls import LossInputs

PREAMBLE = "import torch\nfrom math import inf, nan\n"


class Scene:
    """Tensors and functions by name, and the lines of code that made them from what is given.

    Example:
        >>> scene = Scene("image = torch.zeros(1, 3, 2, 2)")
        >>> scene["image"].shape
        torch.Size([1, 3, 2, 2])
    """

    def __init__(self, code: str, **given: Any) -> None:
        names = {**given}
        exec(PREAMBLE, names)
        known = set(names)
        exec(code, names)
        self.code = code
        self.values = {
            name: value
            for name, value in names.items()
            if name not in known and not isinstance(value, type)
        }

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def fresh(self) -> dict[str, Any]:
        """Return its values by name; tensors are copies."""
        return {name: _fresh(value) for name, value in self.values.items()}


def _fresh(value: Any) -> Any:
    if isinstance(value, LossInputs):
        return value.mapped(_fresh)
    return value.clone() if isinstance(value, Tensor) else value


def seeded(function: str, *arguments: Any, seed: int) -> str:
    """The code of a random tensor that is the same everywhere."""
    given = ", ".join(map(str, arguments))
    return f"torch.{function}({given}, generator=torch.Generator().manual_seed({seed}))"


# --- images -------------------------------------------------------------------------------------

PICTURES = {
    "noise": "{randn}",
    "black": "torch.zeros({shape})",
    "white": "torch.ones({shape})",
    "dark": "torch.full({shape}, -2.0)",
    "faint": "1e-4 * {randn}",
    "bright": "10 * {randn}",
    "bytes": "{randint}.float()",
    "half black": "{randn} * (torch.arange({width}) < {width} // 2)",
    "one black": "{randn} * (torch.arange({batch}) > 0).reshape(-1, 1, 1, 1)",
    "unlike": "{randn} * (1.0 + torch.arange({batch})).reshape(-1, 1, 1, 1)",
}


class Picture(NamedTuple):
    """What an image shows, at any size: one of `PICTURES` and a seed."""

    kind: str = "noise"
    seed: int = 0

    def code(self, shape: Sequence[int]) -> str:
        """The expression that makes it."""
        size = tuple(shape)
        return PICTURES[self.kind].format(
            shape=size,
            batch=size[0],
            width=size[-1],
            randn=seeded("randn", size, seed=self.seed),
            randint=seeded("randint", 256, size, seed=self.seed),
        )


def pictures(kinds: Sequence[str] = tuple(PICTURES)) -> st.SearchStrategy[Picture]:
    """Pictures of these kinds, the plainest first."""
    return st.builds(Picture, st.sampled_from(list(kinds)), st.integers(0, 1000))


def truth(logits: Tensor, *, ignored: str = "target[:, 0]", missing: str = "depth[:, -1]") -> Scene:
    """Return labels and depth that a few steps can learn: a rare class, and a sloping floor.

    Args:
        logits: tell batch, classes and size.
        ignored: the pixels without a label, as an expression to assign to.
        missing: the pixels without depth, likewise.
    """
    batch, classes, height, width = logits.shape
    device = "" if logits.device.type == "cpu" else f", device={str(logits.device)!r}"
    lines = [
        f"target = torch.zeros(({batch}, {height}, {width}), dtype=torch.int64{device})",
        f"target[..., {width - width // 4} :] = {classes - 1}",
        f"{ignored} = 255",
        f"depth = 20 + torch.arange({width}.0{device}).repeat({batch}, {height}, 1)",
        f"{missing} = nan",
    ]
    return Scene("\n".join(lines))


# --- batches of a loss --------------------------------------------------------------------------


SIDES = "[0.5 * logits[..., ::2, ::2] for _ in range({num_sides})]"


class Settings(NamedTuple):
    """What the batches of one loss have in common; ``log_input``: predicted depth is in logs."""

    num_classes: int
    ignore_index: int | None
    num_sides: int = 0
    log_input: bool = True
    device: str = "cpu"


def literal(tensor: Tensor) -> str:
    """A tensor as it would be typed."""
    return f"torch.tensor({tensor.tolist()!r})"


def batch_code(
    logits: str,
    target: str,
    pred_depth: str,
    target_depth: str,
    settings: Settings,
    name: str = "batch",
) -> str:
    """The lines that make ``batch``, with side outputs at half the size."""
    lines = [
        "from lwm_loss.testing.calls import LossInputs",
        f"logits = {logits}",
        f"target = {target}",
        f"pred_depth = {pred_depth if settings.log_input else f'({pred_depth}).exp()'}",
        f"target_depth = {target_depth}",
    ]
    sides = SIDES.format(num_sides=settings.num_sides) if settings.num_sides else "[]"
    lines.append(f"{name} = LossInputs(logits, target, pred_depth, target_depth, {sides})")
    if settings.device != "cpu":
        lines.append(f"{name} = {name}.mapped(lambda x: x.to({settings.device!r}))")
    return "\n".join(lines)


def scene_code(
    settings: Settings,
    *,
    images: int = 2,
    size: tuple[int, int] = (6, 8),
    seed: int = 0,
    ignored: float = 0.2,
    missing: float = 0.2,
    depth: str = "1 + 200 * {uniform}",
    name: str = "batch",
) -> str:
    """A plain scene without ties: what a network and a data set would give."""
    shape = (images, *size)
    uniform = seeded("rand", shape, seed=seed + 3)
    labels = seeded("randint", settings.num_classes, shape, seed=seed + 1)
    if settings.ignore_index is not None and ignored > 0:
        share = seeded("rand", shape, seed=seed + 2)
        labels = f"torch.where({share} < {ignored}, {settings.ignore_index}, {labels})"
    true_depth = depth.format(uniform=uniform)
    predicted = f"({true_depth}).log() + {seeded('rand', shape, seed=seed + 4)} - 0.5"
    if missing > 0:
        gaps = seeded("rand", shape, seed=seed + 5)
        true_depth = f"torch.where({gaps} < {missing}, nan, {true_depth})"
    scores = f"2 * {seeded('randn', (images, settings.num_classes, *size), seed=seed)}"
    return batch_code(scores, labels, predicted, true_depth, settings, name)


@st.composite
def loss_batches(
    draw: st.DrawFn,
    settings: Settings,
    *,
    min_images: int = 1,
    max_pixels: int = 24,
    ties: bool = False,
) -> Scene:
    """Small batches with ignored pixels and depth that is missing in every way, as scenes."""
    size = draw(strategies.sizes(max_dims=2, max_side=6, max_pixels=max_pixels))
    images = draw(st.integers(min_images, 3))
    shape, classes = (images, *size), settings.num_classes
    # A few classes compete, the others stay behind: a class more would only lengthen the snippet.
    live = min(classes, 4)
    scores = literal(draw(strategies.logits((images, live, *size))))
    if live < classes:
        rest = (images, classes - live, *size)
        scores = f"torch.cat([{scores}, torch.full({rest}, -8.0)], 1)"
    if not ties:
        noise = seeded("rand", (images, classes, *size), seed=draw(st.integers(0, 1000)))
        scores = f"{scores} + {noise} / 16"
    ignored = -100 if settings.ignore_index is None else settings.ignore_index
    labels = draw(strategies.targets(shape, live, ignored))
    if settings.ignore_index is None:
        labels = labels.clamp(min=0)
    predicted = literal(draw(strategies.log_depths(shape)))
    if not ties:
        predicted = f"{predicted} + {seeded('rand', shape, seed=draw(st.integers(0, 1000)))} / 16"
    true_depth = literal(draw(strategies.depths(shape)))
    return Scene(batch_code(scores, literal(labels), predicted, true_depth, settings))
