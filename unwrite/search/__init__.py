"""The search for good trials, with Optuna."""
