"""Per-pixel cross-entropy and Delta in one pass over the logits (Eq. 1 before its sum)."""

from .dispatch import pixel_cross_entropy
from .reference import resize_logits

__all__ = ["pixel_cross_entropy", "resize_logits"]
