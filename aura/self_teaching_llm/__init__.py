"""Doors: paths that the guide names for the tokenizer and for pretraining."""
