"""Ours against the plain way to do the same."""
