"""The stage extract: sources of text become documents with affect vectors."""
