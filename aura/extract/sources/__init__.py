"""Where text comes from: folders, pins, buckets and the Hugging Face Hub."""
