"""Import path that docs/guide.md names for the text of a dataset; the code is in aura/one_shot."""
