"""Import path that docs/guide.md names for loading text; the code is in aura/one_shot. The lexicons lie here."""
