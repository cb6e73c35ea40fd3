"""Everything that touches transformers."""
