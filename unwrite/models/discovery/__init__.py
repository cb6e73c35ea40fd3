"""How residual writers are found on a miniature of the model and proven on every layer."""
