"""A new project from the demo: its pipeline, parameters, prompts and repository."""
