"""Ground under every stage: errors, the console, files, params, processes."""
