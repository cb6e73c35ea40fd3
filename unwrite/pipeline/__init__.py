"""The code around each stage: its parameters, lock, record, inputs and progress."""
