"""The tokenizer that stages hand on: models/spm."""
