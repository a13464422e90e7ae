"""Looking at every frame of a data set before anything is trained on it."""
