"""How a model is measured: behaviour and KL divergence from its base."""
