"""Sources of text: their places (folders, pins, buckets, the Hugging Face Hub), and the readers of their files."""
