"""What surrounds a stage: its parameters, lock, record, inputs and progress."""
