"""The stage export: the model in the form of Hugging Face transformers."""
