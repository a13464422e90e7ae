"""How a loss is called, what it says of itself, and where its value is in what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

# What an argument is, by words in its name; the first that fits.
TRUE_WORDS = ("target", "true", "truth", "gt", "label", "star")
PREDICTED_WORDS = ("pred", "log", "output", "estimate")


Roles = dict[str, str | None]
ORDER = ("logits", "target", "pred_depth", "target_depth", "side_logits")


def candidate_roles(criterion: Callable[..., Any], kind: str) -> list[Roles]:
    """The ways in which a loss may be called, the likeliest first.

    Each is the role of every argument in order, with the keyword it goes by; None for its place.
    """
    parameters = list(_parameters(criterion))
    if kind == "curriculum" or (kind == "auto" and _is_curriculum(criterion, parameters)):
        alone: Roles = {"weight_map": None}
        return [alone if len(parameters) == 1 else {**alone, "mask": None}]
    if len(parameters) < 2:  # *args
        return [dict.fromkeys(ORDER[:count]) for count in (4, 2)]
    names = [parameter.name.lower() for parameter in parameters]
    if "depth" in names[1] and "target" not in names[0]:
        return [{"pred_depth": None, "target_depth": None}]
    found: Roles = {"logits": None, "target": None}
    unknown = iter(("pred_depth", "target_depth"))
    inherited = _overridden(criterion)
    for place, parameter in enumerate(parameters[2:], start=2):
        name = parameter.name.lower()
        role = _role(name, found)
        if role is None and len(name) < 3:  # a letter: the base class may have a word for it
            role = _role(inherited.get(place, ""), found)
        if role is None and parameter.default is parameter.empty:
            role = next((each for each in unknown if each not in found), None)
        if role == "side_logits" and getattr(criterion, "num_sides", None) == 0:
            continue
        if role is not None:
            in_place = place == len(found) and parameter.kind is not parameter.KEYWORD_ONLY
            found[role] = None if in_place else parameter.name
    positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if len(found) == 2 and len(positional) >= 4:
        return [found, dict.fromkeys(ORDER[:4])]  # names that tell nothing
    return [found]


# What turns a batch of classes into one of another task, in the code that calls the loss.
FORMS = {
    "multiclass": "",
    "binary": "from lwm_loss.testing.calls import score\n",
    "multilabel": "from lwm_loss.testing.calls import entries\n",
}


def call_code(roles: Roles, task: str, num_classes: int, ignored: int, float_target: bool) -> str:
    """Write the arguments of a call on ``batch``, by their roles and the form that a task wants."""
    target, logits, sides = "batch.target", "batch.logits", "batch.side_logits"
    if task == "binary":
        logits, sides = f"score({logits})", f"[score(side) for side in {sides}]"
    elif task == "multilabel":
        target = f"entries({target}, {num_classes}, {ignored})"
    if float_target:
        target = f"{target}{'.unsqueeze(1)' if task == 'binary' else ''}.float()"
    special = {
        "logits": logits,
        "target": target,
        "side_logits": sides,
        "weight_map": "batch.pred_depth.abs()",
        "mask": f"batch.target != {ignored}",
    }
    return ", ".join(
        ("" if keyword is None else f"{keyword}=") + special.get(role, f"batch.{role}")
        for role, keyword in roles.items()
    )


def _overridden(criterion: Any) -> dict[int, str]:
    """The names of the arguments by place, in the forward that this one overrides."""
    forwards = _forwards(criterion) if isinstance(criterion, nn.Module) else []
    if len(forwards) < 2:
        return {}
    names = list(inspect.signature(forwards[1]).parameters)[1:]  # without self
    return dict(enumerate(name.lower() for name in names))


def _role(name: str, taken: Mapping[str, str | None]) -> str | None:
    if "mask" in name or "normali" in name:
        return None
    if "side" in name:
        return "side_logits"
    if "depth" not in name:
        return None
    if any(word in name for word in TRUE_WORDS):
        return "target_depth"
    if any(word in name for word in PREDICTED_WORDS) and "pred_depth" not in taken:
        return "pred_depth"
    return "target_depth"


def named_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function without ``*args`` and ``**kwargs``; [] if it tells none."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [parameter for parameter in parameters if parameter.kind not in variadic]


def _parameters(criterion: Callable[..., Any]) -> list[inspect.Parameter]:
    """The named parameters; of a forward(*args), those of the forward that it overrides."""
    functions: list[Any] = [criterion]
    if isinstance(criterion, nn.Module):
        functions = [
            criterion.forward,
            *(partial(each, criterion) for each in _forwards(criterion)),
        ]
    return next(filter(None, map(named_parameters, functions)), [])


def _forwards(criterion: nn.Module) -> list[Callable[..., Any]]:
    """The forward of its class and those that this one overrides."""
    return [vars(kind)["forward"] for kind in type(criterion).__mro__ if "forward" in vars(kind)]


def _is_curriculum(criterion: Any, parameters: list[inspect.Parameter]) -> bool:
    names = [parameter.name.lower() for parameter in parameters]
    has_labels = any(word in name for name in names for word in TRUE_WORDS)
    return callable(getattr(criterion, "step", None)) and not has_labels


def _submodules(criterion: Any) -> list[Any]:
    return [
        *modules_of(criterion),
        *(getattr(criterion, name, None) for name in ("criterion", "weighting")),
    ]


def declared_ignored(criterion: Any) -> int | None:
    """The label that a loss, or a part of it, says it ignores."""
    for part in _submodules(criterion):
        keywords = getattr(part, "keywords", {})
        found = keywords.get("ignore_index", getattr(part, "ignore_index", None))
        if isinstance(found, int):
            return found
    for parameter in _parameters(criterion):
        if parameter.name == "ignore_index" and isinstance(parameter.default, int):
            return parameter.default
    return None


def declared_logs(criterion: Any) -> bool | None:
    """Whether it wants the predicted depth in logs, or None if no part of it says (`log_input`)."""
    told = [getattr(part, "log_input", None) for part in _submodules(criterion)]
    if False in told:
        return False
    return True if True in told else None


def declared_task(criterion: Any) -> str:
    """The task that a loss, or a part of it, says it is for."""
    found = (getattr(part, "task", None) for part in _submodules(criterion))
    return next((task for task in found if isinstance(task, str)), "multiclass")


def declared_classes(criterion: Any) -> int | None:
    """The number of classes that a loss says it has, or has weights for."""
    for part in _submodules(criterion):
        for name in ("num_classes", "n_classes", "classes"):
            if isinstance(getattr(part, name, None), int):
                return int(getattr(part, name))
        weight = _class_weight(part)
        if weight is not None:
            return weight.numel()
    return None


def modules_of(criterion: Any) -> list[Any]:
    """Return a loss and all modules within it."""
    return list(criterion.modules()) if isinstance(criterion, nn.Module) else [criterion]


def has_reductions(criterion: Any) -> bool:
    """Whether it has an attribute or an argument ``reduction``."""
    if isinstance(getattr(criterion, "reduction", None), str):
        return True
    function = criterion.forward if isinstance(criterion, nn.Module) else criterion
    return any(parameter.name == "reduction" for parameter in named_parameters(function))


def _class_weight(part: Any) -> Tensor | None:
    for name in ("weight", "class_weight", "class_weights", "alpha"):
        found = getattr(part, name, None)
        if isinstance(found, Tensor) and found.ndim == 1 and found.numel() > 1:
            return found
    return None


def class_weights(criterion: Any) -> list[Tensor]:
    """Return the class weights of a loss and of the modules within it."""
    found = map(_class_weight, modules_of(criterion))
    return [weight for weight in found if weight is not None]


def num_sides(criterion: Any, roles: Mapping[str, str | None]) -> int:
    """How many side outputs it wants."""
    if "side_logits" not in roles:
        return 0
    declared = getattr(criterion, "num_sides", None)
    return declared if isinstance(declared, int) else 1


def places_of_value(raw: Any) -> tuple[str, str]:
    """Where the value and the weights are in what a loss returned, as code."""
    if isinstance(raw, Tensor):
        return "", ""
    if isinstance(raw, Mapping):
        for key in ("total", "loss"):
            if isinstance(raw.get(key), Tensor):
                weight = '["weight"]' if isinstance(raw.get("weight"), Tensor) else ""
                return f'["{key}"]', weight
    for name in ("total", "loss"):
        if isinstance(getattr(raw, name, None), Tensor):
            weight = ".weight" if isinstance(getattr(raw, "weight", None), Tensor) else ""
            return f".{name}", weight
    if isinstance(raw, tuple) and raw and isinstance(raw[0], Tensor):
        return "[0]", ""
    raise TypeError(
        "Expected a loss to return a tensor, or its terms with the `total` among them, but got "
        f"{type(raw).__name__}."
    )
