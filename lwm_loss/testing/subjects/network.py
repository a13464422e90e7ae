"""The probe of a network: copies to run, images to run them on, and the outputs that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import nn

from lwm_loss import MultiTaskOutput

from ..calls import parts, run
from ..copying import deep_copy, is_tied
from ..expect import CheckSkipped
from ..isolation import isolated
from ..reproduction import perform
from ..resized import Resized
from ..scenes import PICTURES, Picture, Scene, pictures, truth
from ..search import Effort, for_all
from ..warm_up import on_model, warm_up

# Pixels of an image that more than one thread would not help with.
LARGEST_SMALL = 128 * 128

T = TypeVar("T")


class BackboneProbe:
    """A network under test. The network itself is never run if it can be copied."""

    def __init__(
        self,
        model: nn.Module,
        num_classes: int | None = None,
        image_size: tuple[int, int] = (48, 64),
        *,
        resize: str | None = None,
        max_examples: int = 4,
        seed: int | None = None,
    ) -> None:
        if isinstance(model, type) or not isinstance(model, nn.Module):
            got = model.__name__ if isinstance(model, type) else type(model).__name__
            raise TypeError(
                f"Expected `model` to be an nn.Module, but got {got}: "
                "did you mean an instance of it?"
            )
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(
                f"Expected `image_size` to be (height, width), but got {image_size!r}."
            )
        if resize is not None:
            model = Resized(model, resize)
        self.model = model
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.small = image_size[0] * image_size[1] <= LARGEST_SMALL
        self.effort = Effort(max_examples, seed)
        self.expected_classes = num_classes
        self._saved: _Snapshot | None = None
        with isolated(small=self.small):
            try:
                self._pristine = deep_copy(model)
                copied = not self._tied()
            except Exception:
                copied = False
            if not copied:
                self._saved = _Snapshot(model)
                self._pristine = model
            self._warm = warm_up(self._pristine, self.image_size) if self.copyable else model
        self.eval_output = self._output(train=False)
        self.train_output = self._output(train=True)

    def _tied(self) -> bool:
        """Tell whether a copy still runs parameters of the network, so that it is no copy."""
        twin = deep_copy(self._pristine).eval()
        try:
            found = parts(run(twin, self.image()["image"]))
        except Exception:
            found = {}  # it does not run: the checks say so
        return is_tied(self.model, twin, found.values())

    @property
    def copyable(self) -> bool:
        """Whether a deep copy can be made that shares nothing with the network."""
        return self._saved is None

    def _attempt(self, call: Callable[[], T]) -> T | Exception:
        """Call a function without gradients: what it returns, or the exception."""
        with isolated(small=self.small), torch.no_grad():
            try:
                return call()
            except Exception as error:
                return error
            finally:
                self.restore()

    def _output(self, *, train: bool) -> MultiTaskOutput | Exception:
        image = self.image()["image"]
        return self._attempt(lambda: run(self.fresh(train=train, must_run=False), image))

    def size_that_runs(self) -> tuple[int, int] | None:
        """Find a size at which the network takes an image alone, its own first; None if there is none.

        Vision transformers put their tokens on a square, some decoders want whole strides.
        """
        height, width = self.image_size
        whole = (-(-height // 32) * 32, -(-width // 32) * 32)
        for size in (self.image_size, whole, (width, width), (height, height), (224, 224)):
            image = self.image(size=size)["image"]
            if not isinstance(self._attempt(partial(self.fresh(warm=False), image)), Exception):
                return size
        return None

    def fresh(self, *, train: bool = False, warm: bool = True, must_run: bool = True) -> nn.Module:
        """Return a copy to run; of a network that cannot be copied, the restored network itself.

        Skips the check if it does not run in training, unless ``must_run`` is False.
        """
        if train and must_run and isinstance(self.train_output, Exception):
            raise CheckSkipped(
                "the network does not run on an image alone in training, see check_output_shapes"
            )
        self.restore()
        model = self.model
        if self.copyable:
            model = deep_copy(self._warm if warm else self._pristine)
        for parameter in model.parameters():
            parameter.grad = None
        return model.train(train)

    def restore(self) -> None:
        """Restore a network that could not be copied."""
        if self._saved is not None:
            self._saved.restore()

    def image(
        self,
        picture: Picture | None = None,
        *,
        batch: int = 2,
        size: tuple[int, int] | None = None,
        name: str = "image",
    ) -> Scene:
        """Return the scene ``image``, or of another name."""
        shape = (batch, 3, *(size or self.image_size))
        return on_model(self._pristine, (picture or Picture()).code(shape), name)

    def require_output(self) -> MultiTaskOutput:
        """Return the output in evaluation; skip the check if that is nothing to learn from."""
        output = self.require_run()
        if output.logits.ndim != 4 or len(output.logits) != 2:
            raise CheckSkipped("the logits are not (B, C, H, W), see check_output_shapes")
        if not output.logits.is_floating_point():
            raise CheckSkipped("the logits are no floating point numbers, see check_output_dtypes")
        return output

    def require_run(self) -> MultiTaskOutput:
        """Return the output in evaluation; skip the check if the network does not run."""
        if isinstance(self.eval_output, Exception):
            elsewhere = self.size_that_runs() is not None
            name = "output_shapes" if elsewhere else "depth_not_needed_at_test_time"
            raise CheckSkipped(
                f"the network does not run on an image alone in evaluation, see check_{name}"
            )
        return self.eval_output

    def require_trainable(self) -> MultiTaskOutput:
        """Return the output in evaluation; skip the check if there are no trainable parameters."""
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise CheckSkipped("the network has no trainable parameters")
        return self.require_output()

    def check(
        self,
        body: Callable[..., Any],
        *scenes: Scene,
        train: bool = False,
        warm: bool = True,
        must_run: bool = True,
        original: bool = False,
        **constants: Any,
    ) -> Any:
        """Run the body of a check on a fresh copy, or on the network itself; see `perform`."""
        setup = []
        plain = {"image": self.image, "depth": lambda: truth(self.require_output().logits)}
        if isinstance(self.model, Resized):
            setup += ["from lwm_loss.testing import Resized"]
            setup += [f"model = Resized(model, {self.model.mode!r})"]
        if original:
            return perform(body, {"model": self.model}, setup, scenes, constants, plain)
        if warm and self.copyable:
            setup += ["from lwm_loss.testing import warm_up"]
            setup += [f"model = warm_up(model, {self.image_size})"]
        setup += ["model.train()" if train else "model.eval()", "torch.manual_seed(0)"]
        model = self.fresh(train=train, warm=warm, must_run=must_run)
        return perform(body, {"model": model}, setup, scenes, constants, plain)

    def in_both_modes(self, body: Callable[..., Any]) -> None:
        """Run the body of a check in evaluation and in training."""
        for train in (False, True):
            self.check(body, train=train)

    def for_all(
        self,
        hold: Callable[..., Any],
        *strategies: st.SearchStrategy[Any],
        corners: Iterable[tuple[Any, ...]],
    ) -> None:
        """Run ``hold`` on drawn arguments, one of each strategy, and on the corners; see `for_all`."""
        for_all(st.tuples(*strategies), lambda drawn: hold(*drawn), self.effort, corners)

    def for_all_pictures(
        self,
        body: Callable[..., Any],
        *,
        kinds: Sequence[str] = tuple(PICTURES),
        corners: Sequence[str] = tuple(PICTURES),
        modes: Sequence[bool] = (False, True),
    ) -> None:
        """Run the body of a check on images of these kinds, in training or evaluation or both."""

        def hold(picture: Picture, train: bool) -> None:
            self.check(body, self.image(picture), train=train, kind=picture.kind)

        plain = [(Picture(kind), train) for kind in corners for train in modes]
        self.for_all(hold, pictures(kinds), st.sampled_from(modes), corners=plain)


class _Snapshot:
    """The parameters, buffers, gradients and modes of a network."""

    def __init__(self, model: nn.Module) -> None:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self._tensors = [(tensor, tensor.detach().clone()) for _, tensor in tensors]
        self._grads = [(parameter, parameter.grad) for parameter in model.parameters()]
        self._modes = [(module, module.training) for module in model.modules()]

    def restore(self) -> None:
        with torch.no_grad():
            for tensor, value in self._tensors:
                tensor.copy_(value)
        for parameter, grad in self._grads:
            parameter.grad = grad
        for module, mode in self._modes:
            module.training = mode
