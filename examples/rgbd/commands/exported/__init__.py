"""What `export` is made of: the deployed network, its files, and their comparison with it."""
