"""Models as Hugging Face's libraries have them: folders to write, and to read back."""
