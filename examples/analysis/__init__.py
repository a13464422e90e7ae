"""Figures of the paper from checkpoints: `correlation` (Fig. 6) and `maps` (Fig. 8)."""
