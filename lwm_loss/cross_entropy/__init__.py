"""Per-pixel cross-entropy and Delta in one pass over the logits (Eq. 1 before its sum)."""

from .reference import pixel_cross_entropy

__all__ = ["pixel_cross_entropy"]
