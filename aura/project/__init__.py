"""The project's own files: sources, params.yaml, dvc.lock, clean-up and repair."""
