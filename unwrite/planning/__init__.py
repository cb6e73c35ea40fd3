"""What a run will take, before it runs: memory, time and disk of each stage, and where the model will be."""
