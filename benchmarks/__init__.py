"""What the losses cost, measured beside what they replace: `python -m benchmarks`."""
