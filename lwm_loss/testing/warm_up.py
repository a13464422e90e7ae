"""A network that was never trained, made fit to be looked at; images on its device."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lwm_loss import MultiTaskOutput

from .copying import deep_copy
from .isolation import isolated
from .scenes import Picture, Scene


def warm_up(model: nn.Module, image_size: tuple[int, int] = (48, 64)) -> nn.Module:
    """A copy of a network that is fit to be looked at, as every check of a backbone looks at one.

    Batch norms that have never seen an image get statistics from two batches of noise: before, an
    untrained network often says next to nothing in evaluation. If its logits still do not depend on
    the image (heads are often initialised with zeros), parameters that hold a single value are
    stirred. A network that has been trained is copied as it is. Random states are left alone.

    Args:
        model: the network; it is not touched.
        image_size: height and width of the noise.

    Example:
        >>> norm = nn.BatchNorm2d(3)
        >>> bool(warm_up(norm).running_mean.any()), bool(norm.running_mean.any())
        (True, False)
    """
    ready = deep_copy(model)
    try:
        with isolated(), torch.no_grad():
            images = [
                on_model(ready, Picture("noise", seed).code((2, 3, *image_size)))["image"]
                for seed in (101, 102)
            ]
            # On another copy, so that nothing else that a forward leaves behind comes along.
            rehearsal = deep_copy(model).train()
            for _, norm in _unseen(rehearsal):
                norm.momentum = None  # the mean over all that it sees
            for image in images if _unseen(ready) else []:
                rehearsal(image)
            buffers = dict(rehearsal.named_buffers())
            for path, norm in _unseen(ready):
                for name, buffer in norm.named_buffers():
                    buffer.copy_(buffers[f"{path}.{name}".lstrip(".")])
            rehearsal.eval()
            logits = [MultiTaskOutput.of(rehearsal(image)).logits for image in images]
            if torch.equal(*logits):
                stir(ready)
    except Exception:
        # It does not run, or not twice: the checks say so of the network as it is.
        ready = deep_copy(model)
    return ready.train(model.training)


def _unseen(model: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """The batch norms that have never seen an image."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.num_batches_tracked is not None
        and int(module.num_batches_tracked) == 0
    ]


def stir(model: nn.Module) -> None:
    """Adds noise to parameters that hold one value: zeros and ones of an initialisation."""
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point() or parameter.numel() == 0:
                continue
            if not bool((parameter == parameter.flatten()[0]).all()):
                continue
            shape = parameter.shape
            if parameter.ndim > 1:
                step = torch.randn(shape, generator=noise) / max(1, parameter[0].numel()) ** 0.5
            else:
                step = 0.05 + 0.1 * torch.rand(shape, generator=noise)
            parameter.add_(step.to(parameter))


def on_model(model: nn.Module, code: str, name: str = "image") -> Scene:
    """An image by this name, on the model's device and in its dtype."""
    tensors = (*model.parameters(), *model.buffers(), torch.zeros(0))
    like = next(tensor for tensor in tensors if tensor.is_floating_point())
    options = [] if like.device.type == "cpu" else [repr(str(like.device))]
    if like.dtype != torch.float32:
        options.append(f"dtype={like.dtype}")
    return Scene(f"{name} = " + (f"({code}).to({', '.join(options)})" if options else code))
