"""The places of text: folders, pins, buckets and the Hugging Face Hub."""
