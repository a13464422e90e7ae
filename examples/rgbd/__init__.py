"""What the RGB-D pipelines share: the networks, the data sets and the training engine."""

import os

# Threads of libgomp spin while they wait for each other. On a machine that does anything else
# besides, they wait for a thread that cannot run while they spin: on two busy cores a training
# step took 36 s in place of 1.2 s. It is read when torch is loaded, so it has to stand here.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
