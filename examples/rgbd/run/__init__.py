"""One training run: its folder, checkpoints, optimisation and state."""
