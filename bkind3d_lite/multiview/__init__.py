"""Several views of 2D poses: robust points, and the cameras themselves."""
