"""A recipe, and what it makes of weights: in memory, on activations, on disk, as an adapter."""
