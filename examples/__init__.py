"""Reference pipelines: train, evaluate and look at hard pixels on real and generated rooms."""
