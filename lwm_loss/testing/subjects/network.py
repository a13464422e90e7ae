"""What the checks of a backbone share: copies to run, images to run them on, outputs to read."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput

from .._copies import is_tied
from .._isolation import global_settings, isolated, restore_settings, seed_all
from ..report import CheckSkipped
from ..resized import Resized
from ..scenes import Picture, Scene
from ..search import Effort
from ..warm_up import on_model, placement, warm_up

# Pixels of an image that more than one thread would not help with.
LARGEST_SMALL = 128 * 128


class BackboneProbe:
    """A network under test, which itself is never run while it can be copied."""

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
        self.device, self.dtype = placement(model)
        self._saved: _Snapshot | None = None
        with isolated(small=self.small):
            try:
                self._pristine = copy.deepcopy(model)
                copied = not self._tied()
            except Exception:
                copied = False
            if not copied:
                self._saved = _Snapshot(model)
                self._pristine = model
            self._warm = warm_up(self._pristine, self.image_size) if self.copyable else model
        self.sample = self._look()
        self.in_training = self._look(train=True)

    def _tied(self) -> bool:
        """Whether a copy still runs parameters of the network: then it is none to work on."""
        twin = copy.deepcopy(self._pristine).eval()
        try:
            outputs = list(parts(self.run(twin, self.image()["image"])).values())
        except Exception:
            outputs = []  # it does not run: the checks say so
        return is_tied(self.model, twin, outputs)

    @property
    def copyable(self) -> bool:
        """Whether a deep copy can be made that is a thing of its own."""
        return self._saved is None

    def _look(self, *, train: bool = False) -> MultiTaskOutput | Exception:
        """One forward tells the outputs that there are."""
        with isolated(small=self.small), torch.no_grad():
            try:
                return self.run(self._fresh(train=train), self.image()["image"])
            except Exception as error:
                return error
            finally:
                self.restore()

    def size_that_runs(self) -> tuple[int, int] | None:
        """A size at which the network takes an image alone; its own first, None if there is none.

        Vision transformers put their tokens on a square, some decoders want whole strides.
        """
        height, width = self.image_size
        whole = (-(-height // 32) * 32, -(-width // 32) * 32)
        for size in (self.image_size, whole, (width, width), (height, height), (224, 224)):
            with isolated(small=self.small), torch.no_grad():
                try:
                    self._fresh(warm=False)(self.image(size=size)["image"])
                except Exception:
                    continue
                finally:
                    self.restore()
            return size
        return None

    def fresh(self, *, train: bool = False, warm: bool = True, must_run: bool = True) -> nn.Module:
        """A copy to run; of a network that cannot be copied, itself, put back to how it was.

        Skips the check if it does not run in training, unless ``must_run`` is False.
        """
        if train and must_run and isinstance(self.in_training, Exception):
            raise CheckSkipped(
                "the network does not run on an image alone in training, see check_output_shapes"
            )
        return self._fresh(train=train, warm=warm)

    def _fresh(self, *, train: bool = False, warm: bool = True) -> nn.Module:
        self.restore()
        model = self.model
        if self.copyable:
            model = copy.deepcopy(self._warm if warm else self._pristine)
        for parameter in model.parameters():
            parameter.grad = None
        return model.train(train)

    def restore(self) -> None:
        """Puts back a network that could not be copied."""
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
        """The scene ``image``, or whatever name it is given."""
        shape = (batch, 3, *(size or self.image_size))
        return on_model(self._pristine, (picture or Picture()).code(shape), name)

    @staticmethod
    def run(model: nn.Module, image: Tensor, seed: int = 0) -> MultiTaskOutput:
        """What the network returns for an image, always with the same random numbers.

        Settings of the process that it changes are put back: one check alone speaks of them.
        """
        settings = global_settings()
        seed_all(seed)
        try:
            return MultiTaskOutput.of(model(image))
        finally:
            restore_settings(settings)

    def require_output(self) -> MultiTaskOutput:
        """What it returns in evaluation; skips the check if that is nothing to learn from."""
        output = self.require_run()
        if output.logits.ndim != 4 or len(output.logits) != 2:
            raise CheckSkipped("the logits are not (B, C, H, W), see check_output_shapes")
        if not output.logits.is_floating_point():
            raise CheckSkipped("the logits are no floating point numbers, see check_output_dtypes")
        return output

    def require_run(self) -> MultiTaskOutput:
        """What it returns in evaluation; skips the check if the network does not run."""
        if isinstance(self.sample, Exception):
            elsewhere = self.size_that_runs() is not None
            name = "output_shapes" if elsewhere else "depth_not_needed_at_test_time"
            raise CheckSkipped(
                f"the network does not run on an image alone in evaluation, see check_{name}"
            )
        return self.sample

    @property
    def num_classes(self) -> int:
        """The classes that there are, which need not be those that there should be."""
        return self.require_output().logits.shape[1]

    def code(self, *scenes: Scene, after: str, warm: bool = True, train: bool = False) -> str:
        """A snippet that does to ``model`` what a check does."""
        head = ["import copy", "from math import inf, nan", "import torch"]
        head.append("from lwm_loss import MultiTaskOutput")
        start: list[str] = []
        if isinstance(self.model, Resized):
            head.append("from lwm_loss.testing import Resized")
            start.append(f"model = Resized(model, {self.model.mode!r})")
        if warm:
            head.append("from lwm_loss.testing import warm_up")
            start.append(f"model = warm_up(model, {self.image_size})")
        start += ["model.train()" if train else "model.eval()", "torch.manual_seed(0)"]
        return "\n".join([*head, *start, *(scene.code for scene in scenes), after])


# What snippets compare: `parts` as a list, always with the same random numbers.
OUTPUTS = (
    "def outputs(model, image, seed=0):\n"
    "    torch.manual_seed(seed)\n"
    "    with torch.no_grad():\n"
    "        output = MultiTaskOutput.of(model(image))\n"
    "    every = (output.logits, output.log_depth, *output.side_logits)\n"
    "    return [part.clone() for part in every if part is not None]\n"
    "def gap(found, expected):\n"
    "    return max((a - b).abs().max() / b.abs().max().clamp(min=1e-30)\n"
    "               if a.shape == b.shape else inf for a, b in zip(found, expected))\n"
)


def parts(output: MultiTaskOutput) -> dict[str, Tensor]:
    """The tensors of an output by name."""
    named = {"logits": output.logits}
    if output.log_depth is not None:
        named["log_depth"] = output.log_depth
    named.update((f"side_logits[{k}]", side) for k, side in enumerate(output.side_logits))
    return named


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
