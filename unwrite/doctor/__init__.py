"""What a project stands on, each finding with its remedy."""
