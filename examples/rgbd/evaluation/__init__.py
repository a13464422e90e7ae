"""Running a network over a split, and its scores."""
