"""The schema of everything that is written and read: parameters, records, paths; pydantic, no torch."""
