"""What all services agree on: facts, subjects, topology, artifacts, progress, failures. Imports nothing of ours."""
