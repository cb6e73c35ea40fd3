"""All code that uses transformers."""
