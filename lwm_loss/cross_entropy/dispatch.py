"""Which form computes a cross-entropy: the fused one wherever it can."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .._bits import is_eager
from .._checks import is_transformed, require_choice, same_size
from .operators import EagerCrossEntropy, fused_forward
from .reference import pixel_cross_entropy as reference
from .settings import Settings

HAS_TRITON = importlib.util.find_spec("triton") is not None
CUDA_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
IMPLEMENTATIONS = ("auto", "torch", "fused")


def can_fuse(logits: Tensor, target: Tensor) -> bool:
    """Whether the fused form takes these tensors."""
    # Forward-mode gradients and function transforms need rules that only the plain form has.
    if forward_ad._current_level >= 0 or is_transformed(logits) or is_transformed(target):
        return False
    if target.numel() == 0 or not (
        target.ndim == 3 or same_size(logits.shape[2:], target.shape[1:])
    ):
        return False
    if logits.device.type == "cuda":
        return logits.dtype in CUDA_DTYPES and HAS_TRITON
    return logits.device.type == "cpu"


def pixel_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy of each pixel and whether it is misclassified, in one pass over the logits.

    The loss equals ``F.cross_entropy(logits, target, reduction="none", ...)`` (Eq. 1 before its
    sum). Logits of another size than the target are brought to it within the pass (bilinear,
    ``align_corners=False``; trilinear for volumes), forward and backward.

    Args:
        logits: (B, C, \*S) or (B, C, \*s), floating point.
        target: int64 (B, \*S), labels in [0, C) or ``ignore_index``.
        ignore_index: the label of pixels whose loss is 0 and that get no gradient.
        weight: (C,) class weights, or None.
        label_smoothing: in [0, 1].
        impl: ``"torch"`` for the plain form, ``"fused"`` for blocks in cache (CPU) or Triton
            kernels (CUDA), ``"auto"`` for the fused one wherever it can run: it does not under
            function transforms, nor with volumes of another size than the target.

    Returns:
        The loss (B, \*S) in float32, or float64 for float64 logits, differentiable any number of
        times; and Delta (B, \*S), bool. Both are 0 at ignored pixels.

    Raises:
        TypeError: ``weight`` is not a tensor or ``label_smoothing`` not a number.
        ValueError: ``impl`` is unknown, or ``"fused"`` where the fused form cannot run;
            ``weight`` has another length or device than the classes of the scores, or
            ``label_smoothing`` is not in [0, 1].

    Example:
        >>> logits = torch.tensor([[[[2.0, 0.0]], [[0.0, 0.0]]]])
        >>> loss, wrong = pixel_cross_entropy(logits, torch.tensor([[[1, 0]]]))
        >>> loss, wrong
        (tensor([[[2.1269, 0.6931]]]), tensor([[[ True, False]]]))
    """
    require_choice(impl, "impl", IMPLEMENTATIONS)
    settings = Settings(weight, ignore_index, label_smoothing)
    settings.check(logits)
    fused = impl != "torch" and can_fuse(logits, target)
    if impl == "fused" and not fused:
        raise ValueError(
            "Expected tensors that the fused cross-entropy can take with impl='fused', but got "
            f"logits of shape {tuple(logits.shape)} on {logits.device}: did you mean impl='auto'?"
        )
    if not fused:
        return reference(logits, target, settings)
    eager = is_eager(logits) and is_eager(target)
    run: Any = EagerCrossEntropy.apply if eager else fused_forward
    loss, wrong, _ = run(logits, target, *settings)
    return loss, wrong
