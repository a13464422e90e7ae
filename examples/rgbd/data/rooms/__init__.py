"""Generated rooms: the data set of a run without --data."""
