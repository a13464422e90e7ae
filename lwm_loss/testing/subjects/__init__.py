"""What the checks know of the network or the loss under test."""
