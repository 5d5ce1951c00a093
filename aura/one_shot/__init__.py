"""Programs and classes for use outside the pipeline: one call each, and the checklist."""
