"""Import paths that docs/guide.md names for the tokenizer and for pretraining; the code is in aura/one_shot."""
