"""Everything that touches optuna."""
