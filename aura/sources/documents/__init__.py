"""Readers of each format, and what is done to one document."""
