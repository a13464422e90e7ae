"""What the checks of a loss share: how it is called, what it returns, and what it ignores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .._isolation import isolated
from ..report import CheckSkipped
from ..scenes import Scene, Settings, scene_code
from ..search import Effort
from .signature import (
    Roles,
    candidate_roles,
    declared_classes,
    declared_ignored,
    declared_logs,
    num_sides,
)

KINDS = ("auto", "criterion", "weighting", "curriculum")
# Labels that data sets use for "ignored", tried on a loss that does not say which it ignores.
USUAL_IGNORED = (-100, 255)


class Inputs(NamedTuple):
    """The tensors of one call, by role."""

    logits: Tensor
    target: Tensor
    pred_depth: Tensor
    target_depth: Tensor
    side_logits: list[Tensor]

    def leaves(self) -> list[Tensor]:
        """The tensors that a loss may be differentiated by."""
        return [self.logits, self.pred_depth, *self.side_logits]

    def cloned(self) -> Inputs:
        """Copies within the graph: what a loss writes to them stays there."""
        *tensors, sides = self
        copies: list[Any] = [tensor.clone() for tensor in tensors]
        return Inputs._make([*copies, [side.clone() for side in sides]])


class Output(NamedTuple):
    """What a loss returned: its value, and the weights that it tells of."""

    value: Tensor
    weight: Tensor | None = None


class LossProbe:
    """A loss under test, which itself is never called while it can be copied."""

    small = True  # all its images are

    def __init__(
        self,
        criterion: Callable[..., Any],
        num_classes: int | None = None,
        *,
        ignore_index: int | None = None,
        kind: str = "auto",
        max_weight: float | None = None,
        max_examples: int = 25,
        seed: int | None = None,
    ) -> None:
        if isinstance(criterion, type) or not callable(criterion):
            name = criterion.__name__ if isinstance(criterion, type) else type(criterion).__name__
            raise TypeError(
                f"Expected `criterion` to be a loss, but got {name}: did you mean an instance of "
                "it?"
            )
        if kind not in KINDS:
            raise ValueError(f"Expected `kind` to be one of {KINDS}, but got {kind!r}.")
        self.criterion = criterion
        self.effort = Effort(max_examples, seed, searches=3)
        self.max_weight = max_weight
        self.roles: Roles = {}
        self.num_classes = num_classes or declared_classes(criterion) or 5
        self.num_sides = 0
        self.told_logs = declared_logs(criterion)
        self.log_input = self.told_logs is not False  # the convention here
        self.kind = kind
        self.ignored: tuple[int, ...] = ()
        self.error: Exception | None = None
        self.output: Output | None = None
        self.total_of = ""
        with isolated():
            for candidate in candidate_roles(criterion, kind):
                try:
                    self._look(candidate, ignore_index)
                except Exception as error:
                    self.error = self.error or error
                else:
                    self.error = None
                    break

    def _look(self, candidate: Roles, ignore_index: int | None) -> None:
        """A few calls tell what it returns and which labels it ignores."""
        self.roles = candidate
        self.num_sides = num_sides(self.criterion, candidate)
        if "weight_map" in candidate:
            self.kind = "curriculum"
        scene = self.scene(ignored=0.0, missing=0.0)
        self.output = self.call(self.copy(), self.inputs(scene))
        self.ignored = self._ignored_labels(ignore_index)
        if self.kind == "auto":
            self.kind = "weighting" if self._is_weighting() else "criterion"

    def copy(self) -> Any:
        """A copy to call; where there can be none, the subject itself."""
        try:
            return copy.deepcopy(self.criterion)
        except Exception:
            return self.criterion

    def restore(self) -> None:
        """Nothing to put back: a loss is called as it is."""

    def ready(self) -> Output:
        """Skips the check if the loss does not run at all."""
        if self.output is None:
            raise CheckSkipped("the loss does not run on a plain batch, see check_loss_output")
        return self.output

    # --- what goes in ---------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """What its batches have in common."""
        ignore_index = self.ignored[0] if self.ignored else None
        return Settings(self.num_classes, ignore_index, self.num_sides, self.log_input)

    def scene(self, **options: Any) -> Scene:
        """A plain batch, see `scene_code`."""
        ignore_index = options.pop("ignore_index", self.settings.ignore_index)
        settings = self.settings._replace(ignore_index=ignore_index)
        return Scene(scene_code(settings, **options))

    def inputs(
        self, scene: Scene, *, grad: bool = True, dtype: torch.dtype | None = None
    ) -> Inputs:
        """Fresh tensors of a scene; float ones but the true depth in ``dtype``, as leaves."""
        device = self.device

        def leaf(tensor: Tensor) -> Tensor:
            fresh = tensor.detach().clone().to(device=device, dtype=dtype or tensor.dtype)
            return fresh.requires_grad_(grad)

        return Inputs(
            leaf(scene["logits"]),
            scene["target"].clone().to(device),
            leaf(scene["pred_depth"]),
            scene["target_depth"].clone().to(device),
            [leaf(side) for side in scene.sides()],
        )

    @property
    def device(self) -> torch.device:
        """Where its buffers are."""
        if isinstance(self.criterion, nn.Module):
            for tensor in (*self.criterion.parameters(), *self.criterion.buffers()):
                return tensor.device
        return torch.device("cpu")

    def uses(self, *roles: str) -> bool:
        """Whether it takes arguments of all these roles."""
        return all(role in self.roles for role in roles)

    def may_be_in_logs(self) -> tuple[bool, ...]:
        """Whether the predicted depth is in logs; both, the convention first, if nothing says so."""
        return (True, False) if self.told_logs is None else (self.told_logs,)

    def require(self, *roles: str) -> None:
        """Skips the check if it does not take arguments of all these roles."""
        self.ready()
        for role in roles:
            if role not in self.roles:
                raise CheckSkipped(f"it takes no {role}")

    def require_ignored(self) -> None:
        """Skips the check if no label is ignored."""
        self.require("logits", "target")
        if not self.ignored:
            raise CheckSkipped("it ignores no label: pass ignore_index if it does")

    # --- what comes out -------------------------------------------------------------------------

    def call(self, criterion: Any, inputs: Inputs, **options: Any) -> Output:
        """Calls a copy as its signature asks for."""
        raw = self.call_with(self.roles, criterion, inputs, options)
        self.total_of, output = _read(raw)
        return output

    def call_with(
        self, roles: Roles, function: Any, inputs: Inputs, options: dict[str, Any]
    ) -> Any:
        values = inputs._asdict()
        arguments = []
        keywords = dict(options)
        for role, keyword in roles.items():
            if role == "weight_map":
                value: Any = inputs.pred_depth.abs()
            elif role == "mask":
                value = inputs.target != (self.ignored[0] if self.ignored else -100)
            else:
                value = values[role]
            if keyword is None:
                arguments.append(value)
            else:
                keywords[keyword] = value
        return function(*arguments, **keywords)

    @property
    def call_code(self) -> str:
        """The call, as code."""
        arguments = []
        for role, keyword in self.roles.items():
            value = {
                "weight_map": "pred_depth.abs()",
                "mask": f"target != {self.ignored[0] if self.ignored else -100}",
            }.get(role, role)
            arguments.append(value if keyword is None else f"{keyword}={value}")
        return f"criterion({', '.join(arguments)}){self.total_of}"

    def code(self, scene: Scene, after: str) -> str:
        """A snippet that does to ``criterion`` what a check does; ``{call}`` stands for the call."""
        lines = ["import copy", "from math import inf, nan", "import torch", scene.code]
        if self.device.type != "cpu":
            names = ", ".join(scene.values)
            lines.append(f"{names} = (x.to({str(self.device)!r}) for x in ({names}))")
        return "\n".join([*lines, after.replace("{call}", self.call_code)])

    def _is_weighting(self) -> bool:
        """Whether a map is one of weights, or one of losses: those grow with the scores."""
        assert self.output is not None
        value = self.output.value
        if value.ndim < 3 or not value.requires_grad:
            return value.ndim >= 3
        if "logits" not in self.roles:
            return False
        scene = self.scene(ignored=0.0, missing=0.0)
        plain = self.call(self.copy(), self.inputs(scene)).value.abs().max()
        scene.values["logits"] = 50 * scene["logits"]
        return bool(self.call(self.copy(), self.inputs(scene)).value.abs().max() < 5 * plain + 5)

    def _ignored_labels(self, ignore_index: int | None) -> tuple[int, ...]:
        """The labels that it ignores: told, found on it, or those that it takes without an error."""
        if "target" not in self.roles or "logits" not in self.roles:
            return ()
        told = ignore_index if ignore_index is not None else declared_ignored(self.criterion)
        if told is not None:
            return (told,)
        taken = []
        for label in USUAL_IGNORED:
            try:
                self.call(self.copy(), self.inputs(self.scene(ignore_index=label, ignored=0.3)))
            except Exception:
                continue
            taken.append(label)
        return tuple(taken)


def _read(raw: Any) -> tuple[str, Output]:
    """The value and the weights in what a loss returned, and the code that gets the value."""
    if isinstance(raw, Tensor):
        return "", Output(raw)
    weight = None
    if isinstance(raw, Mapping):
        weight = raw.get("weight")
        for key in ("total", "loss"):
            if isinstance(raw.get(key), Tensor):
                return f"[{key!r}]", Output(raw[key], weight)
    for name in ("total", "loss"):
        if isinstance(getattr(raw, name, None), Tensor):
            weight = getattr(raw, "weight", None)
            return f".{name}", Output(
                getattr(raw, name), weight if isinstance(weight, Tensor) else None
            )
    if isinstance(raw, tuple) and raw and isinstance(raw[0], Tensor):
        return "[0]", Output(raw[0])
    raise TypeError(
        "Expected a loss to return a tensor, or its terms with the `total` among them, but got "
        f"{type(raw).__name__}."
    )
