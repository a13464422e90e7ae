"""NYUDv2: 795 training and 654 test frames, 40 classes."""
