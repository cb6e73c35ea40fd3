"""What a release says about how it was made."""
