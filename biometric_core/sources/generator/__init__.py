"""People who do not exist: their eyes and fingers, drawn from a seed."""
