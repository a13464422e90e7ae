"""What the command `init` finds out: frames, labels, depth, and which frames are for testing."""
