"""Compare unwrite with the plain way to do the same."""
