"""File formats: reading, writing and checking them."""
