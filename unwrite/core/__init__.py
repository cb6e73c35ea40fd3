"""The mathematics: torch in, torch out, no files and no transformers."""
