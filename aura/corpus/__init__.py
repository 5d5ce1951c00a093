"""The corpus that stages hand on: data/extracted and data/corpus."""
