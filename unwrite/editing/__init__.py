"""Recipes, and the edits that they make: to weights in memory, activations, files, and as an adapter."""
