"""Models in the files of Hugging Face's libraries: weights for transformers, adapters for PEFT."""
