"""Worker processes, on this machine or in a Ray cluster, that share the work of a stage."""
