"""The probe of a loss: how it is called, what it returns, and what it ignores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import Loss, LossInputs, copied
from ..expect import CheckSkipped
from ..isolation import isolated
from ..reproduction import perform
from ..scenes import Scene, Settings, loss_batches, scene_code
from ..search import Effort, for_all
from .signature import (
    FORMS,
    Roles,
    call_code,
    candidate_roles,
    declared_classes,
    declared_ignored,
    declared_logs,
    declared_task,
    num_sides,
    places_of_value,
)

KINDS = ("auto", "criterion", "weighting", "curriculum")
TASKS = ("multiclass", "binary", "multilabel")
# What the body of a check is given: the subject under a name, with the way to its value.
CALLED = """from lwm_loss.testing.calls import Loss
def call(criterion, batch):
    return {value}
{name} = Loss(criterion, call)"""
# Labels that data sets use for "ignored", tried on a loss that does not say which it ignores.
USUAL_IGNORED = (-100, 255)
# The plain batches that are never left out: of several sizes, with everything in them.
PLAIN: tuple[dict[str, Any], ...] = (
    {"seed": 0, "images": 2, "size": (6, 8)},
    {"seed": 1, "images": 3, "size": (5, 7)},
    {"seed": 2, "images": 2, "size": (24, 24)},
)


class LossProbe:
    """A loss under test. The loss itself is never called if it can be copied.

    Attributes:
        roles: the role of every argument, with the keyword by which it is passed.
        ignored: the labels that it ignores, as far as it says or tolerates them.
        error: what it raised on a plain batch.
    """

    small = True  # all its images are

    def __init__(
        self,
        criterion: Callable[..., Any],
        num_classes: int | None = None,
        *,
        ignore_index: int | None = None,
        kind: str = "auto",
        task: str | None = None,
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
        if task not in (None, *TASKS):
            raise ValueError(f"Expected `task` to be one of {TASKS}, but got {task!r}.")
        self.criterion = criterion
        self.task = task or declared_task(criterion)
        self.float_target = False
        self.effort = Effort(max_examples, seed, searches=3)
        self.max_weight = max_weight
        self.roles: Roles = {}
        self.num_classes = num_classes or declared_classes(criterion) or 5
        if self.task == "binary":
            self.num_classes = 2  # of which the logit is the difference
        self.num_sides = 0
        self.declared_log_input = declared_logs(criterion)
        self.kind = kind
        self.ignored: tuple[int, ...] = ()
        self.error: Exception | None = None
        candidates = candidate_roles(criterion, kind)
        forms = (False,) if self.task == "multiclass" else (False, True)
        with isolated():
            for candidate, self.float_target in itertools.product(candidates, forms):
                try:
                    self._try_call(candidate, ignore_index)
                except Exception as error:
                    self.error = self.error or error
                else:
                    self.error = None
                    break
            else:
                self.roles = candidates[0]

    def _try_call(self, roles: Roles, ignore_index: int | None) -> None:
        """A few calls tell what it returns and which labels it ignores."""
        self.roles = roles
        self._value_of = self._weight_of = ""
        self.num_sides = num_sides(self.criterion, roles)
        if "weight_map" in roles:
            self.kind = "curriculum"
        batch = self.scene(ignored=0.0, missing=0.0)["batch"]
        self._value_of, self._weight_of = places_of_value(self._call(batch))
        self.ignored = self._ignored_labels(ignore_index)
        if self.kind == "auto":
            self.kind = "weighting" if self._is_weighting(batch) else "criterion"

    # --- how it is called -----------------------------------------------------------------------

    @property
    def _codes(self) -> dict[str, str]:
        """The code of what the bodies of checks are given, by its name."""
        call = self._written(self.roles)
        codes = {"loss": call + self._value_of}
        weighting = getattr(self.criterion, "weighting", None)
        if callable(weighting):
            roles = candidate_roles(weighting, "weighting")[0]
            codes["weight"] = self._written(roles, ".weighting")
        elif self.kind == "weighting":
            codes["weight"] = codes["loss"]
        elif self._weight_of:
            codes["weight"] = call + self._weight_of
        codes = {
            name: FORMS[self.task] + CALLED.format(name=name, value=value)
            for name, value in codes.items()
        }
        part = "criterion" if self.kind == "curriculum" else "criterion.curriculum"
        resets = callable(getattr(self.curriculum, "reset", None))
        reset = "\ncurriculum.reset()" if resets else ""
        return codes | {"curriculum": f"curriculum = {part}{reset}"}

    def _written(self, roles: Roles, part: str = "") -> str:
        ignored = self.ignored[0] if self.ignored else -100
        arguments = call_code(roles, self.task, self.num_classes, ignored, self.float_target)
        return f"criterion{part}({arguments})"

    @property
    def loss(self) -> Loss:
        """The loss, with the way to its value."""
        loss: Loss = self._bound("loss", self.criterion)["loss"]
        return loss

    @property
    def curriculum(self) -> Any:
        """The curriculum that it is or holds; None if there is none."""
        alone = self.kind == "curriculum"
        return self.criterion if alone else getattr(self.criterion, "curriculum", None)

    def weight(self, batch: LossInputs) -> Tensor:
        """M: what a weighting returns, what a loss's ``weighting`` gives, or what it tells of."""
        if "weight" in self._codes:
            weight = self._bound("weight", copied(self.criterion))["weight"](batch)
            if isinstance(weight, Tensor):
                return weight
        raise CheckSkipped("it has no weight map")

    def _call(self, batch: LossInputs) -> Any:
        return self.loss.copied()(batch.differentiable().mapped(torch.clone))

    def _bound(self, name: str, criterion: Any) -> Scene:
        return Scene(self._codes[name], criterion=criterion)

    def check(
        self, body: Callable[..., Any], *scenes: Scene, original: bool = False, **constants: Any
    ) -> Any:
        """Run the body of a check on a copy, or on the loss itself; see `perform`."""
        criterion = self.criterion if original else copied(self.criterion)
        plain: dict[str, Callable[[], Scene]] = {"batch": self.scene}
        plain |= {name: partial(self._bound, name, criterion) for name in self._codes}
        setup = ["torch.manual_seed(0)"]
        return perform(body, {"criterion": criterion}, setup, scenes, constants, plain)

    def for_all(
        self,
        body: Callable[..., Any],
        *,
        settings: Settings | None = None,
        min_images: int = 1,
        ties: bool = False,
        corners: Iterable[Scene] | None = None,
        **constants: Any,
    ) -> None:
        """Run the body of a check on drawn batches of these settings and on plain ones."""
        settings = settings or self.settings
        strategy = loss_batches(settings, min_images=min_images, ties=ties)
        plain = self.scenes(ignore_index=settings.ignore_index) if corners is None else corners
        for_all(strategy, partial(self.check, body, **constants), self.effort, plain)

    def restore(self) -> None:
        """Do nothing: a loss is called as it is."""

    # --- what goes in ---------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """What its batches have in common."""
        module = self.criterion if isinstance(self.criterion, nn.Module) else nn.Module()
        tensors = (*module.parameters(), *module.buffers(), torch.zeros(0))
        return Settings(
            self.num_classes,
            self.ignored[0] if self.ignored else None,
            self.num_sides,
            self.declared_log_input is not False,  # the convention here
            str(tensors[0].device),
        )

    def scene(self, **options: Any) -> Scene:
        """Make a plain batch, see `scene_code`."""
        ignore_index = options.pop("ignore_index", self.settings.ignore_index)
        return Scene(scene_code(self.settings._replace(ignore_index=ignore_index), **options))

    def scenes(self, **options: Any) -> Iterator[Scene]:
        """Make the plain batches that are never left out."""
        return (self.scene(**plain, **options) for plain in PLAIN)

    def uses(self, *roles: str) -> bool:
        """Whether it takes arguments of all these roles."""
        return all(role in self.roles for role in roles)

    def may_be_in_logs(self) -> tuple[bool, ...]:
        """Whether the predicted depth is in logs; both, the convention first, if nothing says so."""
        told = self.declared_log_input
        return (True, False) if told is None else (told,)

    def require_output(self) -> None:
        """Skip the check if the loss does not run."""
        if self.error is not None:
            raise CheckSkipped("the loss does not run on a plain batch, see check_loss_output")

    def require_roles(self, *roles: str) -> None:
        """Skip the check if the loss does not take arguments of all these roles."""
        self.require_output()
        for role in roles:
            if role not in self.roles:
                raise CheckSkipped(f"it takes no {role}")

    def require_ignored(self) -> tuple[int, ...]:
        """Return the labels that are ignored; skip the check if there are none."""
        self.require_roles("logits", "target")
        if self.kind == "curriculum":
            raise CheckSkipped("a curriculum sees no labels")
        if not self.ignored:
            raise CheckSkipped("it ignores no label: pass ignore_index if it does")
        return self.ignored

    def require_weights(self) -> None:
        """Skip the check if there are no weights to look at."""
        self.require_output()
        if self.kind == "curriculum":
            raise CheckSkipped("a curriculum is given its weights")
        self.weight(self.scene(ignored=0.0)["batch"])

    def has_weights(self) -> bool:
        """Whether there are weights to look at."""
        try:
            self.require_weights()
        except CheckSkipped:
            return False
        return True

    # --- what it is -----------------------------------------------------------------------------

    def _is_weighting(self, batch: LossInputs) -> bool:
        """Whether a map is one of weights, or one of losses: those grow with the scores."""
        value: Tensor = self._call(batch)
        if value.ndim < 3 or not value.requires_grad:
            return value.ndim >= 3
        if "logits" not in self.roles:
            return False
        try:
            large: Tensor = self._call(batch._replace(logits=50 * batch.logits))
        except Exception:
            return False  # check_saturated_logits_stay_finite says so
        return bool(large.abs().max() < 5 * value.abs().max() + 5)

    def _ignored_labels(self, ignore_index: int | None) -> tuple[int, ...]:
        """The labels that it ignores: told, found on it, or those that it takes without an error."""
        if "target" not in self.roles or "logits" not in self.roles:
            return ()
        told = ignore_index if ignore_index is not None else declared_ignored(self.criterion)
        if told is not None:
            return (told,)
        if self.task != "multiclass":
            return ()  # binary cross-entropy takes any number for a label
        return tuple(label for label in USUAL_IGNORED if self._takes(label))

    def _takes(self, label: int) -> bool:
        try:
            self._call(self.scene(ignore_index=label, ignored=0.3)["batch"])
        except Exception:
            return False
        return True
