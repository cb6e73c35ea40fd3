"""A conversation with base and edited model in the terminal, prompted as the pipeline prompts them."""
